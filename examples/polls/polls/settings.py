"""Django's settings: its database is the one that DATABASE_URL names, as Stoker's is."""

import os

from sqlalchemy import make_url

url = make_url(os.environ["DATABASE_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.database,
        "USER": url.username,
        "PASSWORD": url.password,
        "HOST": url.host or url.query.get("host"),
        "PORT": url.port or url.query.get("port"),
    }
}
INSTALLED_APPS = ["polls"]
MIDDLEWARE = ["stoker.http.django.StokerErrors"]
ROOT_URLCONF = "polls.urls"
SECRET_KEY = "for an example only"  # noqa: S105 - nothing is signed with it
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
