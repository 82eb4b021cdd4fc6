"""Artifacts measured on another machine, through TVM's own RPC tracker and server.

On a machine that both reach: `python -m tvm.exec.rpc_tracker --host 0.0.0.0 --port 9190`; on the board:
`python -m tvm.exec.rpc_server --tracker HOST:9190 --key KEY`; then `paring profile OUT --on rpc://HOST:9190/KEY`.
The protocol knows no password: use it in networks where everybody may run programs on the board.
"""

from __future__ import annotations
