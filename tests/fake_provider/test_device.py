"""The shipped provider's device authorization grant (RFC 8628)."""

from __future__ import annotations

import httpx2
import pytest

from tests.fake_provider.signing import PUBLIC_CLIENT
from tests.support.provider_client import POST, Answer, ProviderClient, form_in, good, refused

GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.fixture
def provider(provider: ProviderClient) -> ProviderClient:
    """A provider that devices can ask."""
    provider.fake.features.device_code = True
    return provider


async def start(provider: ProviderClient, **form: str) -> Answer:
    """A device asks for its codes."""
    url = f"{provider.fake.issuer}/device_authorization"
    return good(await provider.http.post(url, data={**POST, "scope": "profile email", **form}))


async def poll(provider: ProviderClient, device: Answer, **form: str) -> httpx2.Response:
    """The device asks whether somebody has decided."""
    fields = {**POST, "grant_type": GRANT, "device_code": str(device["device_code"]), **form}
    return await provider.http.post(f"{provider.fake.issuer}/token", data=fields)


async def test_answer(provider: ProviderClient) -> None:
    """The answer has all that §3.2 names, and the metadata says where to ask."""
    device = await start(provider)
    assert device.keys() == {
        "device_code",
        "user_code",
        "verification_uri",
        "verification_uri_complete",
        "expires_in",
        "interval",
    }
    assert (device["expires_in"], device["interval"]) == (600, 5)
    metadata = provider.fake.metadata()
    assert metadata["device_authorization_endpoint"] == f"{provider.fake.issuer}/device_authorization"
    assert GRANT in str(metadata["grant_types_supported"])


async def test_approved(provider: ProviderClient) -> None:
    """Pending until somebody allows it; then the tokens, once, with a refresh token that works."""
    device = await start(provider)
    assert refused(await poll(provider, device)) == (400, "authorization_pending")
    provider.clock.advance(5)
    provider.fake.approve_device(str(device["user_code"]).lower().replace("-", " "), subject="grace-hopper")
    tokens = good(await poll(provider, device))
    assert tokens["scope"] == "profile email"
    assert (await provider.userinfo(tokens["access_token"])).json()["sub"] == "grace-hopper"
    good(await provider.refresh(tokens["refresh_token"]))
    provider.clock.advance(5)
    assert refused(await poll(provider, device)) == (400, "invalid_grant")
    with pytest.raises(ValueError, match="No device"):
        provider.fake.approve_device("XXXX-XXXX")


async def test_denied(provider: ProviderClient) -> None:
    """Somebody says no."""
    device = await start(provider)
    provider.fake.deny_device(str(device["user_code"]))
    assert refused(await poll(provider, device)) == (400, "access_denied")


async def test_expired(provider: ProviderClient) -> None:
    """After its life the code is told to have expired, whatever somebody decides then."""
    device = await start(provider)
    provider.clock.advance(600)
    with pytest.raises(ValueError, match="No device"):
        provider.fake.approve_device(str(device["user_code"]))
    assert refused(await poll(provider, device)) == (400, "expired_token")


async def test_slow_down(provider: ProviderClient) -> None:
    """Polling faster than the interval is answered slow_down, and makes the interval 5 seconds longer (§3.5)."""
    device = await start(provider)
    assert refused(await poll(provider, device)) == (400, "authorization_pending")
    provider.clock.advance(4)
    assert refused(await poll(provider, device)) == (400, "slow_down")
    provider.fake.approve_device(str(device["user_code"]))
    provider.clock.advance(9)
    assert refused(await poll(provider, device)) == (400, "slow_down")
    provider.clock.advance(15)
    good(await poll(provider, device))


async def test_of_another_client(provider: ProviderClient) -> None:
    """A device code is good for the client that asked for it."""
    device = await start(provider)
    provider.fake.approve_device(str(device["user_code"]))
    other = await poll(provider, device, client_id="other", client_secret="other-secret")
    assert refused(other) == (400, "invalid_grant")
    assert refused(await poll(provider, {"device_code": "made-up"})) == (400, "invalid_grant")
    good(await poll(provider, device))


async def test_public_client(provider: ProviderClient) -> None:
    """A client without a secret asks by its name alone; an unknown scope is refused at once."""
    provider.fake.features.public_clients = True
    provider.fake.register(PUBLIC_CLIENT)
    url = f"{provider.fake.issuer}/device_authorization"
    form = {"client_id": PUBLIC_CLIENT.client_id, "scope": "profile"}
    device = good(await provider.http.post(url, data=form))
    provider.fake.approve_device(str(device["user_code"]))
    polled = {"client_id": PUBLIC_CLIENT.client_id, "grant_type": GRANT, "device_code": str(device["device_code"])}
    good(await provider.http.post(f"{provider.fake.issuer}/token", data=polled))
    assert refused(await provider.http.post(url, data={**form, "scope": "everything"})) == (400, "invalid_scope")


async def test_page(provider: ProviderClient) -> None:
    """The page asks for the code, then who somebody is, and takes the decision of that browser only."""
    device = await start(provider)
    asking = await provider.http.get(str(device["verification_uri"]))
    assert "The code your device shows" in asking.text
    wrong = await provider.http.get(f"{device['verification_uri']}?user_code=bcdf-0000")
    assert "No device waits" in wrong.text
    page = await provider.http.get(str(device["verification_uri_complete"]))
    assert "Test &lt;App&gt; would like to use your account" in page.text
    assert str(device["user_code"]) in page.text
    decided = {**form_in(page), "subject": "alan-turing", "decision": "allow"}
    forged = {**decided, "form_code": "x"}
    assert (await provider.http.post(str(device["verification_uri"]), data=forged)).status_code == 403
    stranger = {**decided, "subject": "nobody"}
    assert (await provider.http.post(str(device["verification_uri"]), data=stranger)).status_code == 400
    done = await provider.http.post(str(device["verification_uri"]), data=decided)
    assert "Your device is connected" in done.text
    tokens = good(await poll(provider, device))
    assert (await provider.userinfo(tokens["access_token"])).json()["sub"] == "alan-turing"


async def test_page_denies(provider: ProviderClient) -> None:
    """Deny on the page is access_denied at the device."""
    device = await start(provider)
    page = await provider.http.get(str(device["verification_uri_complete"]))
    decided = {**form_in(page), "subject": "alan-turing", "decision": "deny"}
    done = await provider.http.post(str(device["verification_uri"]), data=decided)
    assert "You said no" in done.text
    assert refused(await poll(provider, device)) == (400, "access_denied")


async def test_off(provider: ProviderClient) -> None:
    """Unless switched on there is no such endpoint, page or grant."""
    provider.fake.features.device_code = False
    assert (await provider.http.post(f"{provider.fake.issuer}/device_authorization", data=POST)).status_code == 404
    assert (await provider.http.get(f"{provider.fake.issuer}/device")).status_code == 404
    assert refused(await poll(provider, {"device_code": "x"})) == (400, "unsupported_grant_type")
