// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// Pays several recipients in one transaction, so that its receipt carries several Transfer logs.
/// The caller approves this contract first; tokens that return nothing work as well.
contract Batcher {
    error LengthsDiffer();
    error TransferFailed(uint256 index);

    function send(address token, address[] calldata recipients, uint256[] calldata values)
        external
    {
        if (recipients.length != values.length) revert LengthsDiffer();
        for (uint256 i = 0; i < recipients.length; i++) {
            (bool success, bytes memory answer) = token.call(
                abi.encodeWithSignature(
                    "transferFrom(address,address,uint256)", msg.sender, recipients[i], values[i]
                )
            );
            bool refused = answer.length > 0 && !abi.decode(answer, (bool));
            if (!success || refused || token.code.length == 0) revert TransferFailed(i);
        }
    }
}
