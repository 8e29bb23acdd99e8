// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// A wallet that is a contract: whoever holds the owner's key signs for it (EIP-1271).
contract ContractWallet {
    bytes4 private constant VALID = 0x1626ba7e;
    bytes4 private constant INVALID = 0xffffffff;
    address private immutable OWNER;

    error SignatureTooLong();

    constructor(address owner_) {
        OWNER = owner_;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature)
        external
        view
        returns (bytes4)
    {
        if (signature.length > 65) revert SignatureTooLong();
        if (signature.length < 65) return INVALID;
        bytes32 r = bytes32(signature[0:32]);
        bytes32 s = bytes32(signature[32:64]);
        address signer = ecrecover(hash, uint8(signature[64]), r, s);
        return signer != address(0) && signer == OWNER ? VALID : INVALID;
    }
}
