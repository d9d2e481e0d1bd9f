"""The fault laboratory, `make faults`: real processes are killed, frozen and cut off while they refresh.

It asks one question of every fault: is a grant lost that could have been kept? What the provider saw (`ledger`)
is held against what the product kept (`examine`). See docs/reliability.md.
"""
