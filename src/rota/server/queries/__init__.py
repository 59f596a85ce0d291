"""Read models: what pages, API and CLI show, made from the store without taking a lock."""
