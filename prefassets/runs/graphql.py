"""Questions to a Dagster web server elsewhere, and in plain words why it did not answer."""

import re
import ssl
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import requests
from urllib3.exceptions import NameResolutionError

from prefassets.settings import Settings

CONNECT, ANSWER = 5.0, 30.0  # seconds: for the connection, and for each answer


class DagsterNotReached(RuntimeError):
    """There is no usable answer from the Dagster that `PREFASSETS_DAGSTER` names."""


class GraphQL:
    """The GraphQL of the Dagster that the settings name.

    Plain HTTP requests: Dagster's own client knows launching and little else, and says of everything that goes wrong
    on the way that the query failed.
    """

    def __init__(self, chosen: Settings, connect: float = CONNECT, answer: float = ANSWER) -> None:
        self.address = chosen.dagster or ""
        self._token = chosen.dagster_token.get_secret_value().strip() if chosen.dagster_token else None
        if self._token is not None and not re.fullmatch(r"[!-~]+", self._token):
            raise DagsterNotReached(
                "PREFASSETS_DAGSTER_TOKEN is empty or holds blanks or line breaks, so it cannot be a token"
            )
        self._session = requests.Session()
        if self._token is not None:  # else requests takes what ~/.netrc holds for this host
            self._session.auth = self._authorize
        self._patience = connect, answer

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """What the server answers to a query.

        Raises:
            DagsterNotReached: it did not, and why; it says what to do.
        """
        body: dict[str, Any] = {"query": query, "variables": variables}
        try:
            answer = self._session.post(
                f"{self.address}/graphql", json=body, timeout=self._patience, allow_redirects=False
            )
        except requests.RequestException as error:
            raise DagsterNotReached(self._why_no_answer(error)) from error
        try:
            told = answer.json()
        except ValueError:
            told = None
        if not isinstance(told, Mapping) or not ("data" in told or "errors" in told):
            raise DagsterNotReached(self._why_not_graphql(answer))
        if told.get("errors") or not told.get("data"):
            first = (told.get("errors") or [{"message": "no data"}])[0]
            raise DagsterNotReached(
                f"{self.address} is a Dagster that does not understand this one, {metadata.version('dagster')}: "
                f"{first.get('message')}. Install the same version of Dagster here and there."
            )
        return dict(told["data"])

    def _why_no_answer(self, error: requests.RequestException) -> str:
        """Of a request that got no HTTP answer at all."""
        causes = _causes(error)
        secure = self.address.startswith("https:")
        if isinstance(error, requests.exceptions.ProxyError):
            return f"the proxy on the way to {self.address} cannot be used: {_last(causes)}. HTTPS_PROXY names it."
        if any(isinstance(cause, NameResolutionError) for cause in causes):
            return (
                f"{self.address}: no machine of that name is known here. Is PREFASSETS_DAGSTER spelt right, and this "
                f"machine in the network (VPN) where the name is known?"
            )
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
            return (
                f"{self.address} shows a certificate that is not trusted here: {_last(causes)}. If it is your own "
                f"authority's, let REQUESTS_CA_BUNDLE name the file with its certificate."
            )
        if isinstance(error, requests.exceptions.SSLError):
            return f"{self.address} answers, but not in TLS. Was http:// meant? ({_last(causes)})"
        if isinstance(error, requests.exceptions.ConnectTimeout):
            return (
                f"{self.address} cannot be reached within {self._patience[0]:g} s. A firewall, or a network (VPN) that "
                f"this machine is not in?"
            )
        if isinstance(error, requests.exceptions.Timeout):
            return (
                f"{self.address} took the question and gave no answer within {self._patience[1]:g} s. It may be "
                f"overloaded or still starting: try again; its log or its proxy's says more."
            )
        if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
            return (
                f"nothing listens at {self.address}. Is Dagster's web server running, and the port right? In a "
                f"cluster, `kubectl port-forward` must still be running."
            )
        if isinstance(error, requests.exceptions.ConnectionError) and not secure:
            return f"{self.address} broke off without an answer in HTTP. Was https:// meant? ({_last(causes)})"
        return f"{self.address} gave no answer: {_last(causes)}"

    def _why_not_graphql(self, answer: requests.Response) -> str:
        """Of an HTTP answer that is not Dagster's."""
        said = f"{self.address} answers {answer.status_code} {answer.reason}".rstrip()
        has_token = self._token is not None
        if answer.is_redirect:
            target = answer.headers["Location"]
            if target == f"{self.address}/graphql".replace("http://", "https://", 1):
                return f"{self.address} is at {target.removesuffix('/graphql')}: set PREFASSETS_DAGSTER to that"
            return (
                f"{said} and sends to {target.partition('?')[0]}, so a proxy wants a login. {_token_advice(has_token)}"
            )
        if answer.status_code in (401, 403, 407):
            return f"{said}: a proxy before Dagster wants to know who asks. {_token_advice(has_token)}"
        if answer.status_code in (502, 503, 504):
            return (
                f"{said}: a proxy is there, but Dagster's web server behind it is not, or not yet. "
                f"In a cluster: `kubectl get pods`."
            )
        if answer.status_code == 400 and "https" in answer.text.lower():
            return f"{said}: it speaks HTTPS. Set PREFASSETS_DAGSTER to https://..."
        title = re.search(r"<title[^>]*>\s*(.*?)\s*</title", answer.text[:100_000], re.IGNORECASE | re.DOTALL)
        page = f"a page titled {title[1][:80]!r}" if title else "something else than GraphQL"
        return (
            f"{said} with {page}. PREFASSETS_DAGSTER must be the address at which Dagster's pages begin, without "
            f"what follows (/overview, /runs). If it is, a proxy answers in its place. {_token_advice(has_token)}"
        )


def _token_advice(has_token: bool) -> str:
    if has_token:
        return "It does not accept PREFASSETS_DAGSTER_TOKEN as a bearer token: has it expired?"
    return (
        "Set PREFASSETS_DAGSTER_TOKEN if it takes bearer tokens; a user and password are read from ~/.netrc. "
        "Else go around it, with `kubectl port-forward`."
    )


def _causes(error: BaseException) -> list[BaseException]:
    """The error, and all that it was made of: requests and urllib3 hide the one that says what happened."""
    found: list[BaseException] = []
    left: list[Any] = [error]
    while left:
        cause = left.pop(0)
        if isinstance(cause, BaseException) and cause not in found:
            found.append(cause)
            left += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
    return found


def _last(causes: list[BaseException]) -> str:
    """What the innermost error says."""
    return (str(causes[-1]).strip().splitlines() or [type(causes[-1]).__name__])[0]
