"""`grantkeeper providers`: what the catalogue knows, and what can be connected here. Needs no database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from grantkeeper.cli.exits import CommandFailed, ExitCode
from grantkeeper.cli.options import Options, json_option, pass_options
from grantkeeper.cli.output import print_facts, print_json, print_table

if TYPE_CHECKING:
    from grantkeeper.catalogue.schema import Provider
    from grantkeeper.clients import Clients


@click.group()
def providers() -> None:
    """What the catalogue knows, and what can be connected here."""


@providers.command("list")
@json_option
@pass_options
def list_(options: Options, as_json: bool) -> None:
    """List every provider: offered, or why not."""
    clients = known_clients(options)
    unknown = [name for name in clients.configured() if name not in clients.catalogue]
    rows = [(name, clients.label(name), clients.problems(name)) for name in (*clients.catalogue, *unknown)]
    if as_json:
        print_json(
            [
                {"name": name, "label": label, "offered": not problems, "problems": problems}
                for name, label, problems in rows
            ]
        )
        return
    print_table(
        ("Name", "Label", "Offered", "What is missing"),
        [(name, label, not problems, "; ".join(problems)) for name, label, problems in rows],
        "The catalogue is empty.",
    )


@providers.command("show")
@click.argument("name")
@json_option
@pass_options
def show(options: Options, name: str, as_json: bool) -> None:
    """Show all that is known of a provider: endpoints, scopes, what it was verified against."""
    clients = known_clients(options)
    provider = clients.catalogue.get(name)
    if provider is None:
        raise CommandFailed(
            f"The catalogue has no provider {name}; see `grantkeeper providers list`.", ExitCode.NOT_FOUND
        )
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
        }
        print_json(ours | facts)
        return
    print_facts(_facts(provider, endpoints, redirect_uri))
    click.echo()
    for line in problems or ["Offered here."]:
        click.echo(line)


def known_clients(options: Options) -> Clients:
    """The catalogue joined with the settings."""
    from grantkeeper.catalogue.load import load_catalogue
    from grantkeeper.clients import Clients

    settings = options.settings()
    return Clients(load_catalogue(settings.providers_dir), settings.clients, settings.public_url)


def _endpoints(clients: Clients, provider: Provider) -> dict[str, str | None]:
    """The endpoints as they are used here; with their placeholders where the provider is not offered."""
    if not clients.problems(provider.name):
        client = clients.offered(provider.name)
        return {
            "authorization": client.authorization_url,
            "token": client.token_url,
            "refresh": client.refresh_url,
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
    supplied = "you give the endpoints" if provider.operator_supplied else None
    verified = provider.verified
    return {
        "Provider": f"{provider.label} ({provider.name})",
        "Category": provider.category,
        "Documentation": provider.docs_url,
        "Verified": f"{verified.date}, by {verified.basis}",
        "Verified against": verified.page,
        "Redirect URI to register": redirect_uri,
        **{f"{name.capitalize()} endpoint": url for name, url in endpoints.items() if name != "issuer"},
        "Issuer": endpoints["issuer"],
        "Endpoints": supplied,
        "PKCE": provider.authorization.pkce,
        "Client authentication": provider.token.client_authentication,
        "Scopes asked for": provider.scopes.requested(),
        **{f"  {scope}": meaning for scope, meaning in provider.scopes.meaning.items()},
        "Refresh tokens": _refresh(provider),
        "Revocation": provider.revocation.style,
        "Identity from": provider.identity.source,
        **{
            f"Parameter {name}": f"{given.label}; default {given.default}, example {given.example}"
            for name, given in provider.parameters.items()
        },
    }


def _refresh(provider: Provider) -> str:
    if not provider.refresh.supported:
        return "none"
    return {True: "rotate", False: "stay", "sometimes": "rotate sometimes"}[provider.refresh.rotates]
