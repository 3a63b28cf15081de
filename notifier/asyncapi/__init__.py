"""The AsyncAPI 3 document of all messages in and out, generated from the types that the code reads and writes."""
