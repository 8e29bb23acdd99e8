// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// A token with no value that behaves as USDT does on Ethereum, which is not quite ERC-20:
/// transfer, transferFrom and approve return nothing at all; approve refuses to go from one
/// non-zero allowance to another; the owner can switch on a fee, which the recipient bears and
/// which makes one transfer emit two Transfer logs; a blacklisted sender is stopped and its
/// balance can be destroyed, but a blacklisted recipient still receives.
///
/// Units: whole base units, 1 = 0.000001. The fee is in hundredths of a per cent of the value.
contract TetherLike {
    uint8 public constant decimals = 6;
    uint256 private constant BASIS_POINTS = 10_000;
    uint256 private constant RATE_CEILING = 20;
    uint256 private constant FEE_CEILING = 50;

    string public name;
    string public symbol;
    address public immutable owner;
    uint256 public totalSupply;
    uint256 public basisPointsRate;
    uint256 public maximumFee;
    bool public paused;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;
    mapping(address => bool) public isBlackListed;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);
    event Issue(uint256 amount);
    event Params(uint256 feeBasisPoints, uint256 maxFee);
    event AddedBlackList(address _user);
    event RemovedBlackList(address _user);
    event DestroyedBlackFunds(address _blackListedUser, uint256 _balance);
    event Pause();
    event Unpause();

    error Refused();

    modifier onlyOwner() {
        if (msg.sender != owner) revert Refused();
        _;
    }

    modifier whenRunning() {
        if (paused) revert Refused();
        _;
    }

    constructor(string memory name_, string memory symbol_) {
        name = name_;
        symbol = symbol_;
        owner = msg.sender;
    }

    function transfer(address to, uint256 value) external whenRunning {
        _move(msg.sender, to, value);
    }

    function transferFrom(address from, address to, uint256 value) external whenRunning {
        uint256 allowed = allowance[from][msg.sender];
        if (allowed < value) revert Refused();
        if (allowed != type(uint256).max) allowance[from][msg.sender] = allowed - value;
        _move(from, to, value);
    }

    function approve(address spender, uint256 value) external {
        if (value != 0 && allowance[msg.sender][spender] != 0) revert Refused();
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
    }

    /// New tokens go to the owner and, as with the real one, emit no Transfer log.
    function issue(uint256 amount) external onlyOwner {
        totalSupply += amount;
        balanceOf[owner] += amount;
        emit Issue(amount);
    }

    /// Not in the real one: gives a test's customer a balance in one call.
    function mint(address to, uint256 value) external onlyOwner {
        totalSupply += value;
        balanceOf[to] += value;
        emit Transfer(address(0), to, value);
    }

    /// The rate stays under 20 basis points, the fee under 50 whole tokens.
    function setParams(uint256 newBasisPoints, uint256 newMaxFee) external onlyOwner {
        if (newBasisPoints >= RATE_CEILING || newMaxFee >= FEE_CEILING) revert Refused();
        basisPointsRate = newBasisPoints;
        maximumFee = newMaxFee * 10 ** decimals;
        emit Params(basisPointsRate, maximumFee);
    }

    function addBlackList(address user) external onlyOwner {
        isBlackListed[user] = true;
        emit AddedBlackList(user);
    }

    function removeBlackList(address user) external onlyOwner {
        isBlackListed[user] = false;
        emit RemovedBlackList(user);
    }

    /// The balance vanishes without a Transfer log: a ledger kept from logs alone drifts here.
    function destroyBlackFunds(address user) external onlyOwner {
        if (!isBlackListed[user]) revert Refused();
        uint256 balance = balanceOf[user];
        balanceOf[user] = 0;
        totalSupply -= balance;
        emit DestroyedBlackFunds(user, balance);
    }

    function pause() external onlyOwner {
        paused = true;
        emit Pause();
    }

    function unpause() external onlyOwner {
        paused = false;
        emit Unpause();
    }

    function _move(address from, address to, uint256 value) private {
        if (isBlackListed[from] || balanceOf[from] < value) revert Refused();
        uint256 fee = value * basisPointsRate / BASIS_POINTS;
        if (fee > maximumFee) fee = maximumFee;
        balanceOf[from] -= value;
        balanceOf[to] += value - fee;
        if (fee > 0) {
            balanceOf[owner] += fee;
            emit Transfer(from, owner, fee);
        }
        emit Transfer(from, to, value - fee);
    }
}
