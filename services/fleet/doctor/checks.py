"""Every check, in the order of the table."""

from services.fleet.doctor import host, parts
from services.fleet.doctor.check import Check

CHECKS = (
    Check(name="python", waits_for="the installed packages", look=host.python),
    Check(name="open files", waits_for="the system", look=host.limits),
    Check(name="settings", waits_for="the roles' settings", look=parts.settings),
    Check(name="disk", waits_for="the disk to write and sync a file", look=host.disk),
    Check(name="ports", waits_for="the list of sockets", look=host.ports),
    Check(name="ledger", waits_for="the ledger's database, and locks on it", look=parts.ledger),
    Check(name="model", waits_for="the models folder", look=parts.models),
    Check(name="broker", waits_for="the broker", look=parts.broker),
    Check(name="exchange key", waits_for=".env", look=parts.keys),
    Check(name="exchange", waits_for="the exchange, or its rate limit", look=parts.exchange),
)
