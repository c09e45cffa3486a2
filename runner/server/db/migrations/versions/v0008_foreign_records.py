"""Sums know which WMS had an attempt, and count a record of another one under the user that it names."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """From 0007 to 0008. The rows of other WMS follow from their records: the server makes them anew when it starts.

    Ours stay: of a job that was removed only the row still knows whose it was.
    """
    op.add_column("accounting_type_job", sa.Column("WMSID", sa.String(length=36), nullable=True))
    facts, rows, records = (
        sa.table("system_facts", sa.column("Name"), sa.column("Value")),
        sa.table("accounting_type_job", sa.column("RecordID"), sa.column("WMSID")),
        sa.table("accounting_records", sa.column("RecordID"), sa.column("Body")),
    )
    ours = op.get_bind().scalar(sa.select(facts.c.Value).where(facts.c.Name == "WMSID"))
    # The canonical form of a record has no blanks, and a quote within one of its texts has a backslash before it.
    theirs = sa.select(records.c.RecordID).where(records.c.Body.not_like(f'%"WMSID":"{ours}"%'))
    op.execute(sa.delete(rows).where(rows.c.RecordID.in_(theirs)))
    op.execute(sa.update(rows).values(WMSID=ours))
