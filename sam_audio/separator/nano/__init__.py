"""The embedded family: what a prompt and a block of sound go through, in this order.

model      encodes texts, opens streams
stream     windows of a recording, cross-faded
synthesis  spectra, bands, and masks back to sound
engine     the networks behind one boundary: listen to a window once, ask for any prompts
loading    which engine runs them: onnx_engine (graphs, on the CPU) or torch_engine
listening  hear, then ask: shared with training
network    trunk and conditioner; rivals: what prompts compete with; bands: the geometry of both
"""
