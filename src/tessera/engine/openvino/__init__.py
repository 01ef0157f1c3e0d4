"""The CPU engine: OpenVINO's kernels under our own scheduler, in a process of its own."""
