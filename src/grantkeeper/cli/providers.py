"""`grantkeeper providers`: what the catalogue knows, what can be connected here, and what is refreshed.

Needs no database; where there is one, it tells which providers are blocked or paused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from grantkeeper.cli import definition_view, provider_states
from grantkeeper.cli.definition_check import check
from grantkeeper.cli.definition_new import new
from grantkeeper.cli.exits import CommandFailed, ExitCode
from grantkeeper.cli.options import Options, json_option, pass_options
from grantkeeper.cli.output import print_facts, print_json, print_table, shown

if TYPE_CHECKING:
    from grantkeeper.app import Services
    from grantkeeper.catalogue.schema import Provider
    from grantkeeper.clients import Clients
    from grantkeeper.oauth.registration import Registration
    from grantkeeper.storage.refreshes import ProviderState


@click.group(short_help="Look at providers; resume a paused one; register.")
def providers() -> None:
    """What the catalogue knows, what can be connected here, and what is blocked or paused."""


providers.add_command(check)
providers.add_command(new)


@providers.command("list")
@click.argument("words", nargs=-1, metavar="[WORD]…")
@click.option("--category", metavar="CATEGORY", help="Only those that are about this, such as accounting.")
@json_option
@pass_options
def list_(options: Options, words: tuple[str, ...], category: str | None, as_json: bool) -> None:
    """List every provider, or those whose name, label or category holds every WORD.

    Each with what it is about, where the facts come from, whether it is offered, and how it is refreshed: as usual,
    blocked or paused. Blocked: it does not answer, so one connection tries it from time to time for all. Paused: it
    refuses our client, so it waits for you. Neither condemns a connection; all go on by themselves once a try succeeds.
    """
    clients = known_clients(options)
    known_categories = {name for provider in clients.catalogue.values() for name in provider.category}
    if category is not None and category not in known_categories:
        raise click.UsageError(f"There is no category {category}; there are {', '.join(sorted(known_categories))}.")
    states, known = _states(options)
    rows = [_row(clients, name) for name in _names(clients) if _matches(clients, name, words, category)]
    if as_json:
        print_json([{**row, **_state_record(states.get(row["name"]), known)} for row in rows])
        return
    print_table(
        ("Name", "Label", "Category", "Basis", "Offered", "Refreshed", "What is missing"),
        [
            (
                *(row[column] for column in ("name", "label")),
                row["category"][0] if row["category"] else None,
                *(row[column] for column in ("basis", "offered")),
                provider_states.standing(states.get(row["name"])) if known else "not known",
                # That it is not set up is what "no" says.
                "; ".join(row["problems"]) if row["name"] in clients.configured() else "",
            )
            for row in rows
        ],
        "The catalogue has no such provider.",
    )
    for state in states.values():
        click.echo(f"\n{shown(provider_states.sentence(state, _now()))}")
        click.echo(f"`grantkeeper providers resume {shown(state.provider)}` has it tried at once.")


def _names(clients: Clients) -> list[str]:
    """Every provider by label, and behind them what the settings name in vain."""
    return [*clients.catalogue, *(name for name in clients.configured() if name not in clients.catalogue)]


def _matches(clients: Clients, name: str, words: Sequence[str], category: str | None) -> bool:
    provider = clients.catalogue.get(name)
    categories = provider.category if provider is not None else ()
    text = " ".join((name, clients.label(name), *categories)).casefold()
    return (category is None or category in categories) and all(word.casefold() in text for word in words)


def _row(clients: Clients, name: str) -> dict[str, Any]:
    provider, problems = clients.catalogue.get(name), clients.problems(name)
    return {
        "name": name,
        "label": clients.label(name),
        "category": provider.category if provider is not None else [],
        "basis": provider.verified.basis if provider is not None else None,
        "offered": not problems,
        "problems": problems,
    }


@providers.command("show")
@click.argument("name")
@json_option
@pass_options
def show(options: Options, name: str, as_json: bool) -> None:
    """Show all that is known of a provider: what to register and to set, where the facts come from, how it behaves."""
    clients = known_clients(options)
    provider = clients.catalogue.get(name)
    if provider is None:
        raise _unknown(name)
    states, known = _states(options)
    problems = clients.problems(name)
    redirect_uri = f"{options.settings().public_url}/oauth/{name}/callback"
    endpoints = _endpoints(clients, provider)
    if as_json:
        facts = provider.model_dump(mode="json", by_alias=True)
        ours = {
            "offered": not problems,
            "problems": problems,
            "redirect_uri": redirect_uri,
            "endpoints": endpoints,
            **_state_record(states.get(name), known),
        }
        print_json(ours | facts)
        return
    standing = provider_states.facts(states.get(name), _now()) if known else {"Refreshed": "not known"}
    print_facts(_facts(provider, endpoints, redirect_uri) | standing)
    click.echo()
    for line in problems or ["Offered here."]:
        click.echo(line)


@providers.command("resume")
@click.argument("name")
@pass_options
def resume(options: Options, name: str) -> None:
    """Have a blocked or paused provider tried again by its next refresh, instead of later.

    For when you have mended what it was paused for, such as a wrong client secret, and restarted what runs. That one
    refresh tells: if it succeeds, all connections go on.
    """
    clients = known_clients(options)

    async def work(services: Services) -> tuple[bool, ProviderState | None]:
        states = {state.provider: state for state in await services.refreshes.provider_states()}
        if name not in {*states, *clients.catalogue, *clients.configured()}:
            raise _unknown(name)
        return await services.refreshes.probe_now(name, services.clock.now()), states.get(name)

    changed, state = options.run(work)
    if changed:
        click.echo(
            f"The next refresh at {name} tries it: within seconds where `serve` or `worker` runs and a connection is "
            "due, or when a token is read. If it succeeds, all connections go on."
        )
    elif state is not None and state.blocked_at is not None:
        click.echo(f"{name} is {provider_states.standing(state)}, and its next refresh tries it anyway.")
    else:
        click.echo(f"{name} is neither blocked nor paused; there is nothing to resume.")


@providers.command("register")
@click.argument("name")
@json_option
@pass_options
def register(options: Options, name: str, as_json: bool) -> None:
    """Register at a provider's server by yourself (RFC 7591), or tell it what has changed since (RFC 7592).

    For a provider of the settings that has an issuer, or a resource, and no client_id. A running service does it by
    itself when it first needs it, once for all processes; this says at once whether the server agrees. The client
    secret is kept, sealed, and shown to nobody.
    """

    async def work(services: Services) -> tuple[Registration, bool]:
        _must_be_configured(services, name)
        return await services.discovery.register(name)

    registration, new = options.run(work)
    if as_json:
        facts = {"client_id": registration.client_id, "client_authentication": registration.authentication}
        print_json({"name": name, **facts, "new": new})
        return
    click.echo(registration.client_id)
    done = "Registered" if new else "Registered before, and brought up to date"
    click.echo(f"{done}; it proves itself by {registration.authentication}.", err=True)


@providers.command("unregister")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_options
def unregister(options: Options, name: str, yes: bool) -> None:
    """End a registration that was made by `register` or by a running service (RFC 7592), and forget what was found.

    Connections made with it cannot be refreshed any more. As long as the settings name the provider without a
    client_id, a running service registers anew.
    """

    async def work(services: Services) -> bool | None:
        return await services.discovery.unregister(name)

    if not yes:
        click.confirm(f"End our registration at {name}? Its connections cannot be refreshed then", abort=True)
    told = options.run(work)
    if told is None:
        raise CommandFailed(f"There is no registration at {name}.", ExitCode.NOT_FOUND)
    server = "the server has ended it too" if told else "the server gave no way to tell it; end it there by hand"
    click.echo(f"Forgot the registration at {name}; {server}.")


def known_clients(options: Options) -> Clients:
    """The catalogue joined with the settings, and with what was found out about providers."""
    from grantkeeper.catalogue.load import load_catalogue
    from grantkeeper.clients import Clients
    from grantkeeper.errors import GrantkeeperError

    settings = options.settings()
    clients = Clients(load_catalogue(settings.providers_dir), settings.clients, settings.public_url)
    if any(clients.pending(name) for name in clients.configured()):
        try:
            asyncio.run(provider_states.learn_stored(settings, clients))
        except GrantkeeperError as error:
            click.echo(f"What was found out about providers is not known: {error.message}", err=True)
    return clients


def _must_be_configured(services: Services, name: str) -> None:
    if name not in services.clients.configured():
        raise CommandFailed(f"The settings have no clients.{name}.", ExitCode.NOT_FOUND)


def _states(options: Options) -> tuple[dict[str, ProviderState], bool]:
    """The providers that are left alone, and whether that is known: the database may be away."""
    from grantkeeper.errors import GrantkeeperError

    try:
        return asyncio.run(provider_states.blocked_providers(options.settings())), True
    except GrantkeeperError as error:
        click.echo(f"Whether a provider is blocked or paused is not known: {error.message}", err=True)
        return {}, False


def _state_record(state: ProviderState | None, known: bool) -> dict[str, object]:
    word = provider_states.standing(state) if known else "not known"
    return {"refreshed": word, "blocked": provider_states.record(state)}


def _now() -> int:
    from grantkeeper.clock import SystemClock

    return SystemClock().now()


def _unknown(name: str) -> CommandFailed:
    return CommandFailed(f"The catalogue has no provider {name}; see `grantkeeper providers list`.", ExitCode.NOT_FOUND)


def _endpoints(clients: Clients, provider: Provider) -> dict[str, str | None]:
    """The endpoints as they are used here; with their placeholders where the provider is not offered."""
    if not clients.problems(provider.name):
        client = clients.offered(provider.name)
        return {
            "authorization": client.authorization_url,
            "token": client.token_url,
            "refresh": client.refresh.url,
            "revocation": client.revocation_url,
            "identity": client.identity.url,
            "issuer": client.issuer,
        }
    return {
        "authorization": provider.authorization.url,
        "token": provider.token.url,
        "refresh": provider.refresh.url or provider.token.url,
        "revocation": provider.revocation.url,
        "identity": provider.identity.url,
        "issuer": provider.authorization.issuer,
    }


def _facts(provider: Provider, endpoints: dict[str, str | None], redirect_uri: str) -> dict[str, Any]:
    api = provider.api
    return {
        "Provider": f"{provider.label} ({provider.name})",
        "Category": provider.category,
        "Variant of": provider.extends,
        "Comes with": [f"{name}, where it is set up with the same client id" for name in provider.together],
        "Documentation": provider.docs_url,
        "Facts": definition_view.basis(provider.verified),
        "Facts from": provider.verified.page,
        **definition_view.to_register(provider, redirect_uri),
        **definition_view.parameters(provider),
        **{f"{name.capitalize()} endpoint": url for name, url in endpoints.items() if name != "issuer"},
        "Issuer": endpoints["issuer"],
        "PKCE": provider.authorization.pkce,
        "Client authentication": provider.token.client_authentication,
        **definition_view.scopes(provider),
        "Refresh tokens": _refresh(provider),
        "Revocation": provider.revocation.style,
        "Identity from": provider.identity.source,
        "API": api.base_url,
        "Hosts of the API": api.hosts,
        "API documentation": api.docs_url,
    }


def _refresh(provider: Provider) -> str:
    if not provider.refresh.supported:
        return "none"
    return {True: "rotate", False: "stay", "sometimes": "rotate sometimes"}[provider.refresh.rotates]
