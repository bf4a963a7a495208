"""Whether a device computes in bfloat16, or only pretends to."""

import torch


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16.

    A CPU without them emulates bfloat16, and takes several times as long as in float32.

    Parameters
    ----------
    device : torch.device
        The device.

    Returns
    -------
    bool
        True for a CPU with AVX-512 bf16, AMX or the like, and for a GPU of compute
        capability 8.0 or above. False where torch cannot tell (a CPU before
        ``torch.cpu.get_capabilities``), and for other devices.
    """
    if device.type == "cuda":
        if torch.version.hip is not None:
            return True
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # To be asked for without getattr once torch without it is no longer supported.
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if device.type != "cpu" or capabilities is None:
        return False
    return any(has for name, has in capabilities().items() if "bf16" in name)
