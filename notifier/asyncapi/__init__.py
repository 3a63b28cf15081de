"""The AsyncAPI 3 document of all that goes in and out, written from the code's own names and limits."""
