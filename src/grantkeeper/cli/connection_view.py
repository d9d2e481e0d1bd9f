"""How the operator sees a connection: facts and table rows for people, records for programs. Shows no tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grantkeeper.cli.output import timestamp, when
from grantkeeper.model import Connection, Evidence, MustAct, Refresh

if TYPE_CHECKING:
    from grantkeeper.storage.refreshes import Footing


def status(connection: Connection) -> str:
    """The status, and whose turn it is."""
    who = {MustAct.USER: "its user must act", MustAct.OPERATOR: "you must act", MustAct.NOBODY: ""}
    hint = who[connection.must_act]
    return f"{connection.status.value} ({hint})" if hint else connection.status.value


def facts(connection: Connection) -> dict[str, object]:
    """What is known of it, by name."""
    return {
        "Label": connection.label,
        "UUID": connection.uuid,
        "Account": connection.account_uuid,
        "Provider": connection.provider,
        "Client id": connection.client_id,
        "Connected as": connection.identity or connection.subject,
        "Scopes": connection.scopes,
        "Status": status(connection),
        "Last failure": connection.failure,
        "Failures in a row": connection.failures or None,
        "Created": when(connection.created_at),
        "Updated": when(connection.updated_at),
        "Token expires": when(connection.access_token_expires_at) or "never",
        "Refreshable": connection.refreshable,
        "Refresh token expires": when(connection.refresh_token_expires_at) or "never, or not known",
        "Last refreshed": when(connection.refreshed_at),
        "Next refresh": when(connection.next_refresh_at),
        "Refresh lease until": when(connection.lease_expires_at),
        "Token sets so far": connection.generation,
    }


def record(connection: Connection) -> dict[str, object]:
    """What is known of it."""
    return {
        "uuid": connection.uuid,
        "account_uuid": connection.account_uuid,
        "label": connection.label,
        "provider": connection.provider,
        "client_id": connection.client_id,
        "status": connection.status.value,
        "must_act": connection.must_act.value,
        "failure": connection.failure,
        "failures": connection.failures,
        "scopes": list(connection.scopes),
        "subject": connection.subject,
        "identity": connection.identity,
        "created_at": timestamp(connection.created_at),
        "updated_at": timestamp(connection.updated_at),
        "access_token_expires_at": timestamp(connection.access_token_expires_at),
        "refresh_token_expires_at": timestamp(connection.refresh_token_expires_at),
        "refreshable": connection.refreshable,
        "refreshed_at": timestamp(connection.refreshed_at),
        "next_refresh_at": timestamp(connection.next_refresh_at),
        "generation": connection.generation,
    }


def footing_facts(footing: Footing) -> dict[str, object]:
    """How it stands with the refresh engine, by name."""
    unsettled = None
    if footing.unsettled_at is not None:
        who = f" (by {footing.unsettled_owner})" if footing.unsettled_owner else ""
        unsettled = f"an attempt{who} until {when(footing.unsettled_at)}; looked into before the next refresh"
    previous = None
    if footing.previous_issued_at is not None:
        spare = ", perhaps not spent yet" if footing.previous_spare else ""
        previous = f"kept, of {when(footing.previous_issued_at)}{spare}"
    return {
        "Outcome unknown": unsettled,
        "Previous token set": previous,
        # The engine notes it about once a day, and cares no closer.
        "Token last read": f"{(when(footing.used_at) or '')[:10]}, within a day" if footing.used_at else None,
    }


def footing_record(footing: Footing) -> dict[str, object]:
    """How it stands with the refresh engine."""
    return {
        "unsettled_at": timestamp(footing.unsettled_at),
        "unsettled_owner": footing.unsettled_owner,
        "previous_issued_at": timestamp(footing.previous_issued_at),
        "previous_spare": footing.previous_spare,
        "used_at": timestamp(footing.used_at or None),
    }


def refresh_row(line: Refresh) -> tuple[object, ...]:
    """When, outcome, how long, which token set, who must act, by whom, why."""
    took = f"{line.duration / 1000:.0f} ms"
    outcome = line.outcome.replace("_", " ")
    return when(line.at), outcome, took, line.generation, line.must_act.value, line.owner, line.reason


def refresh_record(line: Refresh) -> dict[str, object]:
    """One line of its refresh history."""
    return {
        "at": timestamp(line.at),
        "outcome": line.outcome,
        "milliseconds": line.duration / 1000,
        "generation": line.generation,
        "owner": line.owner,
        "must_act": line.must_act.value,
        "reason": line.reason,
    }


def evidence_record(evidence: Evidence) -> dict[str, object]:
    """One line of what happened to it."""
    return {
        "at": timestamp(evidence.at),
        "action": evidence.action,
        "actor": evidence.actor,
        "request_id": evidence.request_id,
        "detail": evidence.detail,
    }


def detail(evidence: Evidence) -> str:
    """What the evidence tells besides."""
    return ", ".join(f"{name}: {value}" for name, value in evidence.detail.items())
