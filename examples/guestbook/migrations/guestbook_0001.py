"""What is written in guestbooks."""

from alembic import op

revision = "guestbook_0001"
down_revision = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE entries (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, book_id bigint NOT NULL,"
        " name text NOT NULL, words text NOT NULL)"
    )
