"""The kernels for a GPU, in Triton. Importing this package imports triton; nothing outside it does."""

from graphs.ops.triton.attend import attend as attend
from graphs.ops.triton.attend import attend_backward as attend_backward
from graphs.ops.triton.attend import attend_delta as attend_delta
from graphs.ops.triton.attend import scales as scales
from graphs.ops.triton.gather import gather as gather
from graphs.ops.triton.gather import spread as spread
from graphs.ops.triton.mix import mix as mix
from graphs.ops.triton.norm import norm_backward as norm_backward
from graphs.ops.triton.norm import norm_backward_from as norm_backward_from
