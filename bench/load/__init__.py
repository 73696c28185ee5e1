"""The load: services behind a tunnel (`far`) and clients in front of it (`near`), in processes of their own.

As little of the processor as possible is taken from what is measured: senders hand pages of a file to the
kernel (`os.sendfile`), receivers let the kernel throw the bytes away where it can (``MSG_TRUNC``, tcp(7)).
"""
