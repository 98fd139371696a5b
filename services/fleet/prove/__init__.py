"""`tidewheel prove`: the promises of the loop, each tried out on real code; what did not hold is counted.

`proofs` lists them, `proof` says what one is, `ground` gives it fresh ledgers. Any other file here is the proof of that
name; `apparatus` holds what proofs are made with, `programs` what they start as processes of their own.
"""
