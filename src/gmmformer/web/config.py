"""What a server may do and for whom: its address, its token, its bounds."""

import ipaddress
from dataclasses import dataclass

from gmmformer.errors import InputError

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
MOST_SENTENCE = 10_000
"""Characters of a sentence."""
MOST_QUERIES = 64
"""Sentences of a request, and of a batch that is embedded at once."""
MOST_HITS = 100
MOST_MOMENTS = 10
MOST_ANSWERED = 6_400
"""Moments that one request may ask for: sentences times films times moments of each."""
MOST_GLOB = 1_000
"""Characters of a filter by path."""
MOST_PICKED = 1_000
"""Moments of an export."""
STRIP_PIECES = 240
SHORTEST_TOKEN = 16
"""Characters: fewer can be guessed."""


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """How a library is served. The defaults are for one machine and the people who sit at it."""

    host: str = "127.0.0.1"
    """Address to bind to; any other than this machine's own needs a token."""
    port: int = 8000
    """0 takes a free one."""
    token: str | None = None
    """What a client must show, if anything."""
    allow_hosts: tuple[str, ...] = ()
    """Names by which the server may be called beside localhost and `host`, such as that of a reverse proxy."""
    proxies: tuple[str, ...] = ()
    """Addresses or networks of reverse proxies, whose word is taken for who asks, and whether by https."""
    batching: bool = True
    """Whether queries that arrive together are embedded and searched together."""
    waiting_queries: int = 1_024
    """Sentences that may wait to be searched for; more are answered 503."""
    requests: int = 256
    """Requests in progress at a time that were let in, event streams and downloads among them. Others that have
    stopped taking their answers make room for more; where none has, these are answered 503."""
    connections: int = 1_024
    """Connections at a time; those that wait longest without having shown a token make room for more."""
    connections_each: int = 128
    """Of these from one address, unless it is this machine's own or a proxy's."""
    streams: int = 64
    """Event streams at a time; more are answered 503."""
    body_bytes: int = 1_000_000
    """Of a request's body; more is answered 413."""
    read_seconds: float = 15.0
    """In which a request's head, and then its body, must have come."""
    stall_seconds: float = 120.0
    """After which a client that takes nothing of its answer is dropped; `read_seconds` where it showed no token."""
    shutdown_seconds: int = 10
    """That requests in progress are given when the server is told to end."""
    look_seconds: float = 20.0
    """That looking at one film may take, for a thumbnail or to tell whether a browser plays it."""
    cut_seconds: float = 300.0
    """That making one cut or preview may take."""
    cutters: int = 2
    """Cuts and previews made at a time; eight times as many may wait, more are answered 429."""
    memory_limit: float = 4.0
    """GiB of memory that work on one film may take."""
    preview_bytes: int = 2 << 30
    """Of all previews that are kept on disk."""
    thumbnail_bytes: int = 64 << 20
    """Of all thumbnails that are kept in memory."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise InputError(f"--port {self.port} must be at least 0 and at most 65535")
        if self.token is not None and not (self.token and self.token.isascii() and self.token.isprintable()):
            raise InputError("--token must be one or more printable ASCII characters")
        if self.token is not None and self.token != self.token.strip():
            raise InputError("--token must not begin or end with a blank")
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise InputError(
                f"--token (or GMMFORMER_TOKEN) has {len(self.token)} characters, which can be guessed; give at least "
                f"{SHORTEST_TOKEN}, such as those that this prints: "
                'python -c "import secrets; print(secrets.token_urlsafe())"'
            )
        _ = self.networks
        if self.token is None and not is_local(self.host):
            raise InputError(
                f"--host {self.host}: everybody who can reach this address could see the films; give a --token, or "
                "leave --host out to serve this machine alone"
            )

    @property
    def names(self) -> frozenset[str]:
        """The names, in lower case and without port, by which a client may call the server."""
        named = (name.partition(":")[0] if name.count(":") == 1 else name for name in self.allow_hosts)
        return frozenset(name.strip("[]").lower() for name in (*LOCAL_NAMES, self.host, *named))

    @property
    def networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """Where the proxies are; those of IPv4 also as a socket for both kinds names them."""
        found: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for proxy in self.proxies:
            try:
                network = ipaddress.ip_network(proxy)
            except ValueError as error:
                raise InputError(
                    f"--proxy {proxy}: give an address or a network, such as 127.0.0.1 or 10.0.0.0/8"
                ) from error
            found.append(network)
            if network.version == 4:
                found.append(ipaddress.ip_network(f"::ffff:{network.network_address}/{96 + network.prefixlen}"))
        return found

    def trusts(self, host: str) -> bool:
        """Whether that is the address of one of the proxies."""
        address = _address(host)
        return address is not None and any(address in network for network in self.networks)

    @property
    def any_address(self) -> bool:
        """Whether it is bound to all addresses of the machine; then it may be called by any address, not any name."""
        address = _address(self.host)
        return address is not None and address.is_unspecified


def is_local(host: str) -> bool:
    """Whether only this machine can reach that address.

    >>> [is_local(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def is_address(host: str) -> bool:
    """Whether that is an address, not a name."""
    return _address(host) is not None


def group_of(host: str) -> str:
    """Whom an address stands for, when clients are counted: whoever has one address of IPv6 has 2 ** 64 of them.

    >>> [group_of(host) for host in ("10.0.0.7", "::ffff:10.0.0.7", "2001:db8::1:2:3:4", "a unix socket")]
    ['10.0.0.7', '10.0.0.7', '2001:db8::/64', 'unknown']
    """
    address = _address(host)
    if address is None:
        return "unknown"
    return str(address if address.version == 4 else ipaddress.ip_network((address, 64), strict=False))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that this text is, if it is one; those of IPv4 as such, however they are written."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
