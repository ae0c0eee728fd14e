"""The two views, and where they are."""

from django.db import connection, transaction
from django.db.models import F
from django.http import JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import path
from django.views.decorators.http import require_POST

from polls.cached import RESULTS, Voted, stoker
from polls.models import Choice
from stoker.http.django import respond


def results(request, poll_id):
    return respond(stoker.read(RESULTS, poll_id), request)


@require_POST
def vote(request, choice_id):
    with transaction.atomic():
        choice = get_object_or_404(Choice, pk=choice_id)
        Choice.objects.filter(pk=choice_id).update(votes=F("votes") + 1)
        receipt = stoker.record_on(connection, Voted(poll_id=choice.poll_id))
    return JsonResponse({"state": receipt.applied()})


urlpatterns = [
    path("polls/<int:poll_id>", results),
    path("choices/<int:choice_id>/vote", vote),
]
