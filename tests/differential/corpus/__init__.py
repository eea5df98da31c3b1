"""All cases, by subject."""

from tests.differential.corpus.adding import ADDING, PAGES
from tests.differential.corpus.configuring import CONFIGURING
from tests.differential.corpus.copying import COPYING
from tests.differential.corpus.ignoring import IGNORING
from tests.differential.corpus.modern import MODERN
from tests.differential.corpus.refusing import REFUSING
from tests.differential.corpus.running import RUNNING
from tests.differential.corpus.staging import STAGING
from tests.differential.corpus.substituting import SUBSTITUTING

CASES = (
    *COPYING,
    *ADDING,
    *IGNORING,
    *RUNNING,
    *CONFIGURING,
    *SUBSTITUTING,
    *STAGING,
    *MODERN,
    *REFUSING,
)

__all__ = ["CASES", "PAGES"]
