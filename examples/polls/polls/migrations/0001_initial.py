from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [  # noqa: RUF012 - as Django writes it
        migrations.CreateModel(
            "Poll",
            [("id", models.BigAutoField(primary_key=True)), ("question", models.CharField(max_length=200))],
        ),
        migrations.CreateModel(
            "Choice",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("poll", models.ForeignKey(on_delete=models.CASCADE, to="polls.poll")),
                ("words", models.CharField(max_length=200)),
                ("votes", models.IntegerField(default=0)),
            ],
        ),
    ]
