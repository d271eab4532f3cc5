"""From a config to records: plan, driver, back ends, stages, store, tracking."""
