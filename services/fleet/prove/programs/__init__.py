"""Programs that proofs start as processes of their own, to be killed, frozen, limited, crowded or listened to."""
