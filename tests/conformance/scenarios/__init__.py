"""The scenarios, one module a topic. Each is a small async function of a session, registered by a decorator."""
