"""Names and addresses that mean this machine."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine and cannot be reached from others.

    Args:
        host: Name or address.

    Returns:
        True for localhost and loopback addresses.
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
