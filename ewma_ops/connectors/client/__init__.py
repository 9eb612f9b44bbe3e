"""How kafka-python is used: connections, options, topics, and whole batches in and out.

The only modules that touch kafka-python's private parts are in this folder.
"""
