"""The settings of one client, as frozen models: one class per section, one field per variable."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from platform_http.errors import ConfigurationError
from platform_http.settings.fields import (
    AtLeastOne,
    Attempts,
    Count,
    CountOrZero,
    Expects,
    HeaderName,
    HeaderNames,
    Headers,
    HedgeDelay,
    HostPatterns,
    IpAddress,
    Methods,
    Nameservers,
    Networks,
    NotNegative,
    OptionalCount,
    OptionalPath,
    OptionalPort,
    OptionalPositive,
    OptionalRatio,
    OptionalSeconds,
    OptionalSecret,
    OptionalText,
    Pins,
    Ports,
    Positive,
    PropagationTargets,
    Ratio,
    ReloadInterval,
    Seconds,
    SecondsOrZero,
    Statuses,
    Switch,
    Texts,
    Timeout,
    word,
)
from platform_http.settings.secret_url import SecretUrl
from platform_http.settings.url_fields import BaseUrl, ProxyUrl, StoreUrl, TokenUrl
from platform_http.settings.violations import kinds


class Section(BaseModel):
    """A group of settings. Frozen; unknown fields refuse.

    Raises:
        ConfigurationError: If a value is not what its field accepts. It never holds the value,
            which the ValidationError of pydantic does.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True
    )

    def __init__(self, /, **values: object) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            found = kinds(error)
        else:
            return
        # Outside of the except block, so that nothing chains the error that holds the values.
        name = type(self).__name__
        raise ConfigurationError(
            [f"{'.'.join([name, *map(str, where)])} {kind}" for where, kind in found]
        )

    # Validation of a model that has a section builds the section without calling this __init__,
    # and reports all errors at once.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # how pydantic marks it


class TimeoutSettings(Section):
    """How long a call and its phases may take; ``math.inf`` is off."""

    total: Timeout = Field(
        default=10.0,
        description="the call's deadline: waits, all attempts and the body; "
        "when not set, max(10, attempt)",
    )
    attempt: Timeout = Field(
        default=4.0,
        description="one attempt up to its response headers; when not set, min(4, total)",
    )
    connect: Timeout = Field(
        default=1.0, description="one socket connect; when not set, min(1, attempt / 4)"
    )
    read: Timeout = Field(
        default=4.0,
        description="silence between two reads of a body; when not set, min(4, total)",
    )
    pool: Timeout = Field(
        default=1.0,
        description="waiting for a pooled connection; when not set, min(1, attempt / 4)",
    )


class PoolSettings(Section):
    """Connections that a client keeps."""

    limit: CountOrZero = Field(default=100, description="connections of the client, 0 = unlimited")
    limit_per_host: CountOrZero = Field(
        default=20, description="connections to one origin, 0 = unlimited"
    )
    keepalive: SecondsOrZero = Field(default=15.0, description="an idle connection is kept for")
    max_connection_age: OptionalSeconds = Field(
        default=None,
        description="an older connection is not reused, so DNS and scale-up changes are seen",
    )


class DnsSettings(Section):
    """How host names become addresses."""

    cache_ttl: SecondsOrZero = Field(
        default=30.0, description="an answer is used for, 0 = every connection asks"
    )
    nameservers: Nameservers = Field(
        default=(), description="asked instead of the system's resolver; needs the extra dns"
    )
    happy_eyeballs_delay: OptionalSeconds = Field(
        default=0.25,
        description="head start of an address before the next one is tried as well, "
        "none = one after the other",
    )


class TlsSettings(Section):
    """Whom a client trusts and how it identifies itself."""

    verify: Switch = Field(
        default=True, description="certificates are checked; false also needs TLS__ALLOW_INSECURE"
    )
    allow_insecure: Switch = Field(
        default=False, description="TLS__VERIFY=false is meant, or ssl=False of single requests"
    )
    trust: Annotated[
        Literal["system", "certifi", "file"],
        BeforeValidator(word),
        Expects("system, certifi or file"),
    ] = Field(
        default="system",
        description="where trusted authorities come from; when not set, file with a TLS__CA_FILE",
    )
    ca_file: OptionalPath = Field(default=None, description="PEM bundle of trusted authorities")
    cert_file: OptionalPath = Field(
        default=None,
        description="PEM client certificate with its chain, and its key if no TLS__KEY_FILE",
    )
    key_file: OptionalPath = Field(default=None, description="PEM key of the client certificate")
    key_password: OptionalSecret = Field(default=None, description="password of that key")
    min_version: Annotated[Literal["1.2", "1.3"], BeforeValidator(word), Expects("1.2 or 1.3")] = (
        Field(default="1.2", description="oldest protocol version spoken")
    )
    pins: Pins = Field(
        default=(), description="SPKI SHA-256 pins, checked on top of the normal verification"
    )
    reload_interval: ReloadInterval = Field(
        default=60.0, description="changed files are picked up after, on new connections"
    )


class ProxySettings(Section):
    """Which proxy requests go through. What cannot be honoured refuses to start."""

    url: ProxyUrl = Field(default=None, description="the proxy; socks5 needs the extra socks")
    username: OptionalText = Field(default=None, description="sent to the proxy alone")
    password: OptionalSecret = Field(default=None, description="sent to the proxy alone")
    no_proxy: Texts = Field(
        default=(),
        description="reached directly: name with everything below it, .suffix, *, host:port, "
        "address, network",
    )
    from_env: Switch = Field(
        default=False, description="read HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY as well"
    )


class RetryBudgetSettings(Section):
    """The tokens that pay for resends and hedges."""

    capacity: Positive = Field(default=100.0, description="tokens at most, and at the start")
    cost: NotNegative = Field(default=10.0, description="tokens that a resend costs")
    cost_timeout: NotNegative = Field(
        default=20.0, description="tokens that a resend after a timeout costs"
    )
    refund: NotNegative = Field(
        default=1.0, description="tokens back for a success without a resend"
    )
    trickle: NotNegative = Field(default=1.0, description="tokens back per second")


class RetrySettings(Section):
    """When a failed attempt is followed by another one."""

    enabled: Switch = Field(default=True, description="whether attempts are resent at all")
    max_attempts: Attempts = Field(default=3, description="attempts of one call, over all hops")
    statuses: Statuses = Field(
        default=frozenset({429, 502, 503, 504}), description="responses that are resent"
    )
    methods: Methods = Field(
        default=frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"}),
        description="methods that are resent although something may have been processed; others "
        "only when nothing was sent or with an idempotency key",
    )
    backoff_initial: Seconds = Field(
        default=0.05, description="upper bound of the first wait; when not set, at most BACKOFF_MAX"
    )
    backoff_max: Seconds = Field(
        default=5.0,
        description="upper bound of every wait; when not set, at least the other two",
    )
    backoff_throttled: Seconds = Field(
        default=1.0,
        description="upper bound of the first wait after a 429; when not set, at most BACKOFF_MAX",
    )
    respect_retry_after: Switch = Field(
        default=True, description="a Retry-After of a 429 or 503 is the wait"
    )
    retry_after_max: SecondsOrZero = Field(
        default=30.0, description="a longer one is not waited for: the response returns at once"
    )
    budget: RetryBudgetSettings = Field(default_factory=RetryBudgetSettings)


class CircuitBreakerSettings(Section):
    """When an origin that fails is left alone for a while."""

    mode: Annotated[
        Literal["enforce", "observe", "off", "force_open"],
        BeforeValidator(word),
        Expects("enforce, observe, off or force_open"),
    ] = Field(default="enforce", description="observe counts and never rejects")
    failure_ratio: Ratio = Field(default=0.5, description="failed attempts that open the circuit")
    minimum_calls: Count = Field(default=20, description="attempts in the window that it takes")
    window: Seconds = Field(
        default=30.0,
        description="attempts are judged over; when not set, max(30, 2 x TIMEOUT__ATTEMPT)",
    )
    open_duration: Seconds = Field(
        default=5.0,
        description="a circuit stays open for, doubled by each failed probe; "
        "when not set, at most OPEN_DURATION_MAX",
    )
    open_duration_max: Seconds = Field(
        default=60.0,
        description="a circuit stays open for at most; when not set, at least OPEN_DURATION",
    )
    half_open_successes: Count = Field(
        default=3, description="successful probes in a row that close the circuit"
    )
    slow_call_duration: OptionalSeconds = Field(
        default=None, description="attempts that take longer, running ones included, are slow"
    )
    slow_call_ratio: OptionalRatio = Field(
        default=None, description="slow attempts that open the circuit"
    )


class ConcurrencySettings(Section):
    """How many requests are in flight to one origin."""

    limit: CountOrZero = Field(
        default=20,
        description="in flight per origin, 0 = off; when not set, the smaller pool limit",
    )
    queue: CountOrZero = Field(default=1000, description="requests that may wait")
    queue_timeout: Timeout = Field(
        default=5.0, description="a request waits for at most; when not set, min(5, TIMEOUT__TOTAL)"
    )
    enforce: Switch = Field(default=True, description="false counts and never rejects")


class RateLimitSettings(Section):
    """How many requests are sent in a period."""

    rate: OptionalPositive = Field(default=None, description="requests per PER, none = off")
    per: Seconds = Field(default=1.0, description="length of the period")
    burst: OptionalPositive = Field(
        default=None, description="requests at once after a pause; when not set, RATE"
    )
    max_wait: SecondsOrZero = Field(default=0.0, description="a request waits for at most")
    store: StoreUrl = Field(
        default=SecretUrl("memory://"),
        description="redis shares the quota across replicas, as a sliding window",
    )
    fallback_rate: OptionalPositive = Field(
        default=None, description="rate of each replica while the shared store is away"
    )


class HedgingSettings(Section):
    """When a second attempt is started beside a slow one."""

    enabled: Switch = Field(default=False, description="whether safe methods are hedged")
    delay: HedgeDelay = Field(
        default="p95", description="age of the first attempt; p95 is the moving percentile"
    )
    max_ratio: Ratio = Field(default=0.05, description="calls that are hedged at most")


class ThrottleSettings(Section):
    """Adaptive client-side throttling (Google SRE)."""

    enabled: Switch = Field(default=False, description="whether calls are rejected locally")
    k: AtLeastOne = Field(default=2.0, description="requests per accepted one before it rejects")
    window: Seconds = Field(default=120.0, description="requests are counted over")


class PropagationSettings(Section):
    """What an upstream is told about the attempt."""

    enabled: Switch = Field(default=True, description="whether the two headers are sent")
    attempt_header: HeaderName = Field(
        default="X-Request-Attempt", description="holds the attempt's number"
    )
    timeout_header: HeaderName = Field(
        default="X-Request-Timeout-Ms", description="holds the remaining deadline in milliseconds"
    )


class AuthSettings(Section):
    """How requests are authenticated."""

    scheme: Annotated[
        Literal["none", "basic", "digest", "bearer", "oauth2_client_credentials"],
        BeforeValidator(word),
        Expects("none, basic, digest, bearer or oauth2_client_credentials"),
    ] = Field(default="none", description="the provider of credentials")
    username: OptionalText = Field(default=None, description="for basic and digest")
    password: OptionalSecret = Field(default=None, description="for basic and digest")
    token: OptionalSecret = Field(default=None, description="for bearer")
    token_file: OptionalPath = Field(
        default=None, description="for bearer; read again when it changes"
    )
    token_url: TokenUrl = Field(default=None, description="token endpoint, for oauth2")
    client_id: OptionalText = Field(default=None, description="for oauth2")
    client_secret: OptionalSecret = Field(default=None, description="for oauth2")
    scope: OptionalText = Field(default=None, description="for oauth2")
    audience: OptionalText = Field(default=None, description="for oauth2")


class CookieSettings(Section):
    """Whether responses may set cookies."""

    enabled: Switch = Field(default=False, description="whether the session keeps cookies")
    unsafe: Switch = Field(default=False, description="cookies of IP addresses are kept too")


class JsonSettings(Section):
    """How JSON is written and read."""

    serializer: Annotated[
        Literal["json", "orjson", "msgspec"],
        BeforeValidator(word),
        Expects("json, orjson or msgspec"),
    ] = Field(default="json", description="orjson and msgspec need the extra speedups")


class ShutdownSettings(Section):
    """How a factory closes."""

    grace: SecondsOrZero = Field(default=10.0, description="running calls get to finish")


class WebSettings(Section):
    """The integration with aiohttp.web."""

    ready_when_open: Switch = Field(
        default=True, description="the service stays ready while a circuit is open"
    )
    status_page: Switch = Field(
        default=False,
        description="the page /debug/platform-http and its JSON; of the whole process",
    )
    status_host: IpAddress = Field(
        default="127.0.0.1",
        description="address that the status page's own port listens on; without one, 0.0.0.0 or "
        ":: answers every peer of the application's port, and a loopback address local ones",
    )
    status_port: OptionalPort = Field(
        default=None, description="its own port; none = the application's"
    )


class RedirectSettings(Section):
    """Which redirects are followed."""

    mode: Annotated[
        Literal["safe", "deny", "follow"], BeforeValidator(word), Expects("safe, deny or follow")
    ] = Field(
        default="safe",
        description="safe never goes from https to http and takes no secrets to another origin; "
        "deny raises; follow is aiohttp's rule",
    )
    max: CountOrZero = Field(
        default=5,
        description="redirects of a call that are followed; for more than 9 the request must say "
        "max_redirects= too",
    )


class EgressSettings(Section):
    """Which destinations may be reached."""

    mode: Annotated[
        Literal["internal", "public", "allowlist", "off"],
        BeforeValidator(word),
        Expects("internal, public, allowlist or off"),
    ] = Field(
        default="internal",
        description="internal: all but link-local, metadata and unspecified addresses; public: "
        "global unicast only; allowlist: ALLOWED_HOSTS by the internal rule",
    )
    allowed_hosts: HostPatterns = Field(default=(), description="for allowlist")
    denied_hosts: HostPatterns = Field(default=(), description="never reached")
    allowed_ports: Ports = Field(default=(), description="empty = the default of the mode")
    allowed_networks: Networks = Field(
        default=(), description="admitted as literals, and exempt from the mode's rule"
    )
    enforce: Switch = Field(default=True, description="false counts and never refuses")
    trust_proxy: Switch = Field(
        default=False, description="the proxy checks addresses; public behind a proxy needs it"
    )


class ResponseSettings(Section):
    """What a response may cost."""

    max_body: OptionalCount = Field(
        default=67_108_864,
        description="decoded bytes of a buffered read, none = unlimited; past 4 MiB a compressed "
        "one may be 200 times its size on the wire",
    )


class TelemetrySettings(Section):
    """What is recorded, and where its context goes."""

    traces: Switch = Field(default=True, description="whether spans are made")
    metrics: Switch = Field(default=True, description="whether metrics are recorded")
    call_span: Annotated[
        Literal["auto", "always", "never"], BeforeValidator(word), Expects("auto, always or never")
    ] = Field(default="auto", description="a span for the whole call; auto = when it may be resent")
    propagate_to: PropagationTargets = Field(
        default=("*",),
        description="origins that get the trace context; * covers traceparent only, baggage needs "
        "a name",
    )
    capture_request_headers: HeaderNames = Field(
        default=(), description="request headers that become span attributes"
    )
    capture_response_headers: HeaderNames = Field(
        default=(), description="response headers that become span attributes"
    )
    redact_query: Texts = Field(
        default=(
            "X-Amz-Signature",
            "X-Amz-Credential",
            "X-Amz-Security-Token",
            "AWSAccessKeyId",
            "Signature",
            "sig",
            "X-Goog-Signature",
            "access_token",
            "token",
            "api_key",
            "apikey",
            "key",
            "password",
            "secret",
            "code",
        ),
        description="query keys whose values are hidden in url.full, * = all",
    )


def _no_headers() -> Mapping[str, SecretStr]:
    return MappingProxyType({})


class Profile(Section):
    """Everything that can be set, for every client or for one."""

    base_url: BaseUrl = Field(
        default=None,
        description="relative URLs join it by RFC 3986, so /x replaces its path; "
        "http+unix://%2Frun%2Fapi.sock/ is a socket",
    )
    headers: Headers = Field(
        default_factory=_no_headers,
        description="default headers, for the origin of BASE_URL alone if set; values are secrets",
    )
    timeout: TimeoutSettings = Field(default_factory=TimeoutSettings)
    pool: PoolSettings = Field(default_factory=PoolSettings)
    dns: DnsSettings = Field(default_factory=DnsSettings)
    tls: TlsSettings = Field(default_factory=TlsSettings)
    proxy: ProxySettings = Field(default_factory=ProxySettings)
    retry: RetrySettings = Field(default_factory=RetrySettings)
    circuit_breaker: CircuitBreakerSettings = Field(default_factory=CircuitBreakerSettings)
    concurrency: ConcurrencySettings = Field(default_factory=ConcurrencySettings)
    rate_limit: RateLimitSettings = Field(default_factory=RateLimitSettings)
    hedging: HedgingSettings = Field(default_factory=HedgingSettings)
    throttle: ThrottleSettings = Field(default_factory=ThrottleSettings)
    propagation: PropagationSettings = Field(default_factory=PropagationSettings)
    auth: AuthSettings = Field(default_factory=AuthSettings)
    cookies: CookieSettings = Field(default_factory=CookieSettings)
    # Not "json", a method of every pydantic model.
    json_: JsonSettings = Field(default_factory=JsonSettings, alias="json")
    shutdown: ShutdownSettings = Field(default_factory=ShutdownSettings)
    web: WebSettings = Field(default_factory=WebSettings)
    redirects: RedirectSettings = Field(default_factory=RedirectSettings)
    egress: EgressSettings = Field(default_factory=EgressSettings)
    response: ResponseSettings = Field(default_factory=ResponseSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)


class ClientSettings(Profile):
    """The resolved settings of one client: every adaptive default is a concrete value.

    :meth:`HttpSettings.client <platform_http.HttpSettings.client>` makes them; made by
    hand, fields stay at their plain defaults and nothing checks one against the other.

    Args:
        name: The client's name, lower case, with ``_`` for ``-``.
    """

    name: str = Field(default="default", description="the client's name")
