"""Requests per second through Pithead: beside vLLM's own `LLM.generate`, and beside peers at an endpoint.

`PITHEAD_VLLM_PYTHON` names an interpreter with vLLM (`make test-vllm` makes one); `endpoint_peers.py` names the peers'.
"""

from tests.bench import endpoint_peers, vllm_throughput
from tests.bench.harness import save


def main() -> None:
    rows = [{"against": "an endpoint", **row} for row in endpoint_peers.rows()]
    save("generation", rows)
    save("generation", rows + [{"against": "LLM.generate", **row} for row in vllm_throughput.rows()])


if __name__ == "__main__":
    main()
