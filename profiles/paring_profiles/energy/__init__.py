"""Energy of an inference, measured: windows long enough for a meter, in turns, idle subtracted.

`paring_profiles.meters` holds the meters, one file each. Here is what they share: counters that wrap and
reset (`counter`), power that is sampled and integrated (`power`), the thread that reads (`recorder`), the
windows (`windows`) and what is concluded from them (`summary`).

Nothing here estimates: where no meter is present, or its counter cannot be trusted, there is a reason and
no figure. Modelled energies are the ledger's.
"""
