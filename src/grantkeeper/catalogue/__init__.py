"""What Grantkeeper knows of each service: one TOML file a provider, checked on loading.

Owns the definitions, their schema and the banner drawn from them. Must not know settings, storage,
the network or pages: it says where a provider is and how it behaves, others talk to it.
"""

from grantkeeper.catalogue.catalogue import Catalogue
from grantkeeper.catalogue.endpoints import Endpoints, endpoint_problems, resolve_endpoints
from grantkeeper.catalogue.load import load_catalogue
from grantkeeper.catalogue.logo import banner_svg, icon_svg
from grantkeeper.catalogue.schema import Provider
from grantkeeper.catalogue.tables import (
    Api,
    AuthorizationEndpoint,
    Identity,
    Parameter,
    Refresh,
    Revocation,
    Scopes,
    TokenEndpoint,
    TokenResponsePaths,
    Verification,
)

__all__ = [
    "Api",
    "AuthorizationEndpoint",
    "Catalogue",
    "Endpoints",
    "Identity",
    "Parameter",
    "Provider",
    "Refresh",
    "Revocation",
    "Scopes",
    "TokenEndpoint",
    "TokenResponsePaths",
    "Verification",
    "banner_svg",
    "endpoint_problems",
    "icon_svg",
    "load_catalogue",
    "resolve_endpoints",
]
