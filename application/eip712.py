"""What a token's contract signs for: the separator of its EIP-712 domain.

Shapes  A signature made under one separator counts on one chain, for one contract, one name and
        one version. Ours must be the contract's own, or every authorisation would be refused.
        Domains with a salt, as Polygon's bridged tokens have them, are not described here.
Units   32 bytes.
Source  EIP-712, the domain with name, version, chainId and verifyingContract; EIP-3009 and
        EIP-2612 both use it, and contracts show it as DOMAIN_SEPARATOR().
"""

from eth_hash.auto import keccak

from domain.network import Network, Token

_DOMAIN_TYPE = keccak(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)


def separator_of(network: Network, token: Token) -> bytes | None:
    """As computed from what is claimed of the token; None where nothing is."""
    claimed = token.eip712
    if claimed is None:
        return None
    return keccak(
        _DOMAIN_TYPE
        + keccak(claimed.name.encode())
        + keccak(claimed.version.encode())
        + network.chain_id.to_bytes(32, "big")
        + bytes.fromhex(token.address.removeprefix("0x")).rjust(32, b"\0")
    )
