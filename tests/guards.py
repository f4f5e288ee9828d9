"""What stands against the threats of docs/security.md: how each guard is taken out, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass

ORIGINS = "src/ai_workflow/http_server/origin_check.py"


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard: the text of a file that is it, what a careless change would leave, and who notices.

    Args:
        name: what is guarded, as the id of its test.
        file: where it stands.
        text: a text that the file has exactly once.
        without: what replaces it.
        tests: the arguments of pytest, of which one test at least must fail.
        is_long: whether they take ten seconds or more; their level is `soak`.
    """

    name: str
    file: str
    text: str
    without: str
    tests: tuple[str, ...]
    is_long: bool = False


GUARDS = (
    Guard("Host of a request", ORIGINS, "if host and not self._is_own(host):", "if False:", ("tests/test_origins.py",)),
    Guard(
        "Origin of a request", ORIGINS, 'return self._foreign(origin.decode("latin-1").lower(), host)', "return None",
        ("tests/test_origins.py",),
    ),
    Guard(
        "Sec-Fetch-Site of a request", ORIGINS,
        'if values.get(b"sec-fetch-site") in (b"cross-site", b"same-site") and not navigates:', "if False:",
        ("tests/test_origins.py",),
    ),
    Guard(
        "Origin of a WebSocket", ORIGINS,
        'if scope["type"] not in ("http", "websocket") or', 'if scope["type"] != "http" or',
        ("tests/test_origins.py", "-k", "websocket"), is_long=True,
    ),
    Guard(
        "Prefect behind Host and Origin", "src/ai_workflow/local/prefect_server.py",
        "return OriginGuard(create_app(final=True), origins, forbid_frames=True)", "return create_app(final=True)",
        ("tests/test_origins.py", "-k", "prefect_server or websocket"), is_long=True,
    ),
    Guard(
        "Prefect in no frame", "src/ai_workflow/local/prefect_server.py", ", forbid_frames=True", "",
        ("tests/test_origins.py", "-k", "frame"), is_long=True,
    ),
    Guard(
        "CSRF of Prefect", "src/ai_workflow/local/server_environment.py",
        '"PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true"',
        '"PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "false"', ("tests/test_origins.py", "-k", "csrf"), is_long=True,
    ),
    Guard(
        "service behind Host and Origin", "src/ai_workflow/serving/service.py",
        "return self._app if self._service.token else OriginGuard(self._app, self._origins)", "return self._app",
        ("tests/test_origins.py", "-k", "service"), is_long=True,
    ),
    Guard(
        "relay behind Host and Origin", "src/ai_workflow/alerting/app.py",
        "return OriginGuard(app, self._origins, lambda headers: "
        "self._token is not None and self._has_token(headers))",
        "return app", ("tests/test_origins.py", "-k", "alert"), is_long=True,
    ),
    Guard(
        "exporter behind Host and Origin", "src/ai_workflow/exporter/exporter.py",
        "wsgi_guard(make_wsgi_app(self.registry), self._origins)", "make_wsgi_app(self.registry)",
        ("tests/test_origins.py", "-k", "exporter"), is_long=True,
    ),
    Guard(
        "relay takes JSON only", "src/ai_workflow/alerting/app.py",
        'if content_type != "application/json" and (content_type or self._token is None):', "if False:",
        ("tests/test_origins.py", "-k", "json"), is_long=True,
    ),
    Guard(
        "token of the relay", "src/ai_workflow/alerting/app.py",
        'if self._token is not None and not self._has_token(request.scope["headers"]):', "if False:",
        ("tests/monitoring/relay/test_relay.py", "-k", "token"),
    ),
    Guard(
        "size of a webhook", "src/ai_workflow/http_server/request_body.py", "if size > max_bytes:", "if False:",
        ("tests/monitoring/relay/test_relay.py", "-k", "oversized or token"), is_long=True,
    ),
    Guard(
        "relay without token on loopback only", "src/ai_workflow/config/settings/chat.py",
        "if self.token is None and not self._is_loopback:", "if False:",
        ("tests/monitoring/relay/test_relay_configuration.py",), is_long=True,
    ),
    Guard(
        "service without token on loopback only", "src/ai_workflow/config/settings/service.py",
        "if self.token is None and not self.is_loopback:", "if False:",
        ("tests/serving/test_service.py", "-k", "rejected_at_start"), is_long=True,
    ),
    Guard(
        "token of callers", "src/ai_workflow/serving/auth.py",
        "return self._token is None or _has_token(headers, self._token)", "return True",
        ("tests/serving/test_service.py", "-k", "token"), is_long=True,
    ),
    Guard(
        "token of administrators", "src/ai_workflow/serving/auth.py",
        "return self._admin is not None and _has_token(headers, self._admin)",
        "return True", ("tests/serving/test_service.py", "-k", "admin_endpoints"), is_long=True,
    ),
    Guard(
        "token of labels", "src/ai_workflow/serving/auth.py",
        "return self._label is None or _has_token(headers, self._label)", "return True",
        ("tests/serving/test_labels.py", "-k", "token"), is_long=True,
    ),
    Guard(
        "labels closed where only others have tokens", "src/ai_workflow/serving/auth.py",
        "return self._label is not None or (self._token is None and self._admin is None)", "return True",
        ("tests/serving/test_labels.py", "-k", "without_label_token"), is_long=True,
    ),
    Guard(
        "tokens that differ", "src/ai_workflow/config/settings/service.py", "if token == value:", "if False:",
        ("tests/serving/test_labels.py", "-k", "identical"), is_long=True,
    ),
    Guard(
        "prediction ids at random", "src/ai_workflow/serving/endpoints.py", "os.urandom(_ID_BYTES).hex()",
        'f"{int(__import__(\"time\").time() * 1e6):032x}"', ("tests/serving/test_labels.py", "-k", "unpredictable"),
        is_long=True,
    ),
    Guard(
        "labels ahead of the clock", "src/ai_workflow/serving/label_time.py",
        "return min(seconds, now)", "return seconds",
        ("tests/serving/test_labels.py", "-k", "future_label"), is_long=True,
    ),
    Guard(
        "size of a body", "src/ai_workflow/http_server/request_body.py",
        "if content_length is not None and int(content_length) > max_bytes:", "if False:",
        ("tests/serving/test_abuse.py", "-k", "oversized_body"), is_long=True,
    ),
    Guard(
        "time of a request", "src/ai_workflow/serving/connection_limits.py",
        "return is_awaited and now - self.state_since > self._service.read_seconds", "return False",
        ("tests/serving/test_abuse.py", "-k", "unfinished"), is_long=True,
    ),
    Guard(
        "number of connections", "src/ai_workflow/serving/connection_limits.py",
        "if len(self.connections) > self._service.max_connections and not self._evict_idle():", "if False:",
        ("tests/serving/test_abuse.py", "-k", "connection_limit"), is_long=True,
    ),
    Guard(
        "objects of a JSON body", "src/ai_workflow/serving/protocol/json_body.py",
        'if len(body) > MAX_CONTAINERS and body.count(b"[") + body.count(b"{") > MAX_CONTAINERS:', "if False:",
        ("tests/serving/test_event_loop.py", "-k", "too_many_json"),
    ),
    Guard(
        "redirects of the service", "src/ai_workflow/serving/management_endpoints.py",
        "app.router.redirect_slashes = False", "pass",
        ("tests/serving/test_connections.py", "-k", "redirected"), is_long=True,
    ),
    Guard(
        "secrets in a text", "src/ai_workflow/secret_values.py", "text = text.replace(value, MASK)", "pass",
        ("tests/test_secret_values.py", "tests/test_logs.py", "-k", "mask"),
    ),
    Guard(
        "secrets shown", "src/ai_workflow/secret_values.py", "def __str__(self) -> str:\n        return MASK",
        'def __str__(self) -> str:\n        return self._value or ""', ("tests/test_secret_values.py",),
    ),
    Guard(
        "key of Prefect before make run", "src/ai_workflow/local/server.py",
        "encryption.check(server_environment.database_url(home), encryption.configured_key(os.environ))", "pass",
        ("tests/deploy/test_encryption.py", "-k", "make_run"), is_long=True,
    ),
    Guard(
        "key of Prefect before the server", "src/ai_workflow/local/prefect_server.py",
        "encryption.check(PREFECT_API_DATABASE_CONNECTION_URL.value(), key)", "pass",
        ("tests/deploy/test_encryption.py", "-k", "standalone_server"), is_long=True,
    ),
    Guard(
        "damage to a version", "src/ai_workflow/storage/store.py",
        "if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:", "if False:",
        ("tests/test_registry.py", "-k", "damaged"),
    ),
    Guard(
        "results as JSON", "src/ai_workflow/orchestration/stage_task.py",
        'result_serializer="json"', 'result_serializer="pickle"',
        ("tests/flows/test_caching.py", "-k", "cache"), is_long=True,
    ),
    Guard(
        "files of make up", "src/ai_workflow/local/stack/monitoring_config.py", "os.O_EXCL, 0o600)",
        "os.O_EXCL, 0o644)", ("tests/deploy/test_login.py",),
    ),
    Guard(
        "policies of the network", "deploy/kubernetes/base/network.yaml",
        "  name: default-deny\nspec:\n  podSelector: {}\n  policyTypes: [Ingress]\n",
        "  name: default-deny\nspec:\n  podSelector: {}\n  policyTypes: [Ingress]\n  ingress: [{}]\n",
        ("tests/deploy/test_kubernetes.py", "-k", "required_ingress"),
    ),
)  # fmt: skip
