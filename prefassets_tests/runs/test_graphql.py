"""A Dagster that cannot be reached says why and what to do, whatever stands at the address; tried on real sockets."""

import json

import pytest

from prefassets.runs.graphql import DagsterNotReached, GraphQL
from prefassets.settings import BadSetting, Settings, settings
from prefassets_tests.loopback.certificates import self_signed
from prefassets_tests.loopback.misbehaving import SILENCE, full, http, saying
from prefassets_tests.loopback.webserver import free_port

QUERY = "{ version }"
TOKEN = "not-to-be-printed"
LOGIN = "<!doctype html><html><head><title>Sign in to Example</title></head></html>"


@pytest.fixture(autouse=True)
def no_proxy_on_the_way(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def ask(address, token=None):
    chosen = Settings(dagster=address, dagster_token=token)
    return GraphQL(chosen, connect=1, answer=1).ask(QUERY)


def refusal(address, token=None):
    with pytest.raises(DagsterNotReached) as refused:
        ask(address, token)
    assert TOKEN not in str(refused.value)
    return str(refused.value)


def refusal_of(answer, token=None):
    with saying(answer) as (port, _):
        return refusal(f"http://127.0.0.1:{port}", token)


# ---- nobody there


def test_nothing_listens():
    address = f"http://127.0.0.1:{free_port()}"
    assert f"nothing listens at {address}. Is Dagster's web server running" in refusal(address)


def test_a_name_that_nobody_knows():
    assert "no machine of that name is known here" in refusal("https://dagster.invalid")


def test_a_firewall_that_drops_everything():
    with full() as port:
        assert "cannot be reached within 1 s. A firewall" in refusal(f"http://127.0.0.1:{port}")


def test_a_server_that_accepts_and_never_answers():
    assert "took the question and gave no answer within 1 s" in refusal_of(SILENCE)


def test_a_forward_proxy_that_is_gone(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    assert "the proxy on the way to http://dagster.invalid cannot be used" in refusal("http://dagster.invalid")


# ---- HTTP and HTTPS


def test_https_where_http_is_spoken():
    with saying(http("200 OK", "{}")) as (port, _):
        assert "answers, but not in TLS. Was http:// meant?" in refusal(f"https://127.0.0.1:{port}")


def test_http_where_https_is_spoken(tmp_path):
    with saying(http("200 OK", "{}"), self_signed(tmp_path)[1]) as (port, _):
        assert "Was https:// meant?" in refusal(f"http://127.0.0.1:{port}")
    assert "it speaks HTTPS" in refusal_of(
        http("400 Bad Request", "<title>400</title>The plain HTTP request was sent to HTTPS port")
    )


def test_a_redirect_to_https_says_which_address_to_set():
    port = free_port()
    moved = http("301 Moved Permanently", "", f"Location: https://127.0.0.1:{port}/graphql")
    with saying(moved, port=port):
        told = refusal(f"http://127.0.0.1:{port}")
    assert told.endswith(f"is at https://127.0.0.1:{port}: set PREFASSETS_DAGSTER to that")


def test_a_certificate_of_an_unknown_authority_and_one_that_is_made_known(tmp_path, monkeypatch):
    certificate, tls = self_signed(tmp_path)
    with saying(http("200 OK", '{"data": {"version": "1"}}'), tls) as (port, _):
        told = refusal(f"https://127.0.0.1:{port}")
        assert "certificate that is not trusted here" in told
        assert "REQUESTS_CA_BUNDLE" in told
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert ask(f"https://127.0.0.1:{port}") == {"version": "1"}


# ---- something else answers


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_a_proxy_that_wants_to_know_who_asks(status):
    assert "Set PREFASSETS_DAGSTER_TOKEN" in refusal_of(http(status, LOGIN))
    assert "does not accept PREFASSETS_DAGSTER_TOKEN" in refusal_of(http(status, LOGIN), TOKEN)


@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"])
def test_a_proxy_with_no_dagster_behind_it(status):
    told = refusal_of(http(status, "<html>nginx</html>"))
    assert f"answers {status}" in told
    assert "Dagster's web server behind it is not, or not yet" in told


def test_a_login_page_and_the_way_to_it():
    assert "with a page titled 'Sign in to Example'" in refusal_of(http("200 OK", LOGIN))
    told = refusal_of(http("302 Found", "", "Location: https://login.example.org/oauth2?state=secret"))
    assert "sends to https://login.example.org/oauth2, so a proxy wants a login" in told


def test_json_that_is_not_graphql_and_graphql_of_another_version():
    assert "with something else than GraphQL" in refusal_of(http("404 Not Found", '{"detail": "Not Found"}'))
    unknown = {"errors": [{"message": "Cannot query field 'version' on type 'Query'."}]}
    told = refusal_of(http("400 Bad Request", json.dumps(unknown)))
    assert "Cannot query field 'version'" in told
    assert "Install the same version of Dagster here and there" in told


# ---- what is sent


def test_the_token_is_sent_and_a_path_is_kept():
    with saying(http("200 OK", '{"data": {"version": "1"}}')) as (port, asked):
        ask(f"http://127.0.0.1:{port}/team/dagster/", f"{TOKEN}\n")
    (request,) = asked
    assert request.startswith("POST /team/dagster/graphql HTTP/1.1\r\n")
    assert f"\r\nAuthorization: Bearer {TOKEN}\r\n" in request


def test_the_token_is_never_printed():
    assert TOKEN not in repr(Settings(dagster_token=TOKEN))
    with pytest.raises(DagsterNotReached, match="holds blanks") as refused:
        GraphQL(Settings(dagster="http://127.0.0.1", dagster_token=f"{TOKEN} {TOKEN}"))
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("dagster.example.org", "http:// or https://"),
        ("ftp://dagster.example.org", "http:// or https://"),
        ("https://", "http:// or https://"),
        ("https://dagster.example.org:web", "ort could not be cast"),
        (f"https://me:{TOKEN}@dagster.example.org", "must not hold a user or password"),
    ],
)
def test_an_address_that_is_none_is_refused_at_once(monkeypatch, address, why):
    monkeypatch.setenv("PREFASSETS_DAGSTER", address)
    settings.cache_clear()
    try:
        with pytest.raises(BadSetting, match=why) as refused:
            settings()
    finally:
        monkeypatch.undo()
        settings.cache_clear()
    assert "PREFASSETS_DAGSTER is" in str(refused.value)
    assert TOKEN not in str(refused.value)
