"""Into the studio: the separator beside pedalboard effects and plugins, offline, in blocks and live.

pedalboard is GPL-3.0 and belongs to the extra ``daw``; nothing here imports it before an effect is asked for.
"""

from sam_audio.host.automation import Automation
from sam_audio.host.rack import Rack, Strip

__all__ = ["Automation", "Rack", "Strip"]
