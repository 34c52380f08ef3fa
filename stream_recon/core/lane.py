"""The lane: everything that is known of one partition number, and what follows from each further record.

A lane is fed batches of decoded records in log order (`step`), and what the shell sees of silence (`tick`); it never
reads a clock. What it concluded and what changed in it since the last time is taken out by `drain`: the transitions to
publish, and one `Changes` to write to recon.state.v1. Folding all `Changes` ever drained, in order, into a new lane
(`restore`) gives the same lane; `snapshot` gives the same in few, large `Changes`.
"""
