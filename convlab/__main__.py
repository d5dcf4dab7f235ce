"`python -m convlab` is the command `convlab`."
import sys

from convlab.command import main

sys.exit(main())
