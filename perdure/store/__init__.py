"""One small storage contract (`contract`) and independent adapters: memory, sqlite.

Adapters know no rules of the product: id reuse, status, retries are decided above. They keep the contract to the
letter, which `perdure.testing.store_contract` checks for every adapter.
"""
