"""Fingerprints of accounting records, for digests by hour."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """From 0006 to 0007. The rows follow from the records: the server makes them anew when it starts."""
    op.execute("DELETE FROM accounting_type_job")
    op.add_column("accounting_type_job", sa.Column("HashHigh", sa.BigInteger(), nullable=True))
    op.add_column("accounting_type_job", sa.Column("HashLow", sa.BigInteger(), nullable=True))
