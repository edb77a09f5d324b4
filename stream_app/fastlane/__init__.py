"""The chunk lane: one Faust message carries one fetched chunk of records. Every line that touches private parts of Faust is here.

Faust's cost is per message, so a message is a chunk: group, rebalance, flow control, agents, tables, recovery and commits stay
Faust's, and their cost is divided by the chunk. What may be acknowledged, and from where work goes on after a seek, is decided here,
because stock Faust acknowledges what its streams skip and may deliver records fetched before a seek.
"""
