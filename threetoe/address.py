"""The address, model and key of a server, checked before it is asked.

The key comes from the environment alone, and is said nowhere: not in a message, not in a file.
"""

import ipaddress
import os
import socket
from urllib.parse import urlsplit

from threetoe.errors import UserError, first_line

KEY = "OPENAI_API_KEY"


def check_endpoint(config) -> None:
    """UserError unless address, model and key can be right, and a local server listens."""
    problems = []
    try:
        url = urlsplit(config.base_url)
        port = url.port or (443 if url.scheme == "https" else 80)
        problems += problems_of(config.base_url, url)
    except ValueError as error:
        raise UserError(f"--base-url {config.base_url}: {first_line(error)}.") from error
    if not config.model:
        problems.append(f"--model NAME: say which model of {config.base_url} is asked.")
    try:
        import openai  # noqa: F401
    except ImportError:
        problems.append('--base-url needs the openai package: pip install "threetoe[data]".')
    if problems:
        raise UserError(*problems)
    if is_loopback(url.hostname):
        try:
            socket.create_connection((url.hostname, port), timeout=5).close()
        except OSError as error:
            raise UserError(
                f"--base-url {config.base_url}: nothing listens there ({error.strerror or error}); "
                "start the server, or mend the port."
            ) from error


def problems_of(address: str, url) -> list[str]:
    if url.scheme not in ("http", "https") or not url.hostname:
        return [f"--base-url {address} is no address such as http://127.0.0.1:8080/v1."]
    if url.username or url.password:
        return [f"--base-url: put the key in {KEY}, not before the @ of the address."]
    if not is_local(url.hostname) and not key():
        return [f"--base-url {address} asks for a key: put it in the environment as {KEY}."]
    if not key().isascii() or not key().isprintable():
        return [f"{KEY} holds characters that no key has."]
    return []


def key() -> str:
    return os.environ.get(KEY, "").strip()


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_local(host: str) -> bool:
    """Whether a host is of this machine or the network around it."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return is_loopback(host) or "." not in host or host.endswith((".local", ".internal"))
