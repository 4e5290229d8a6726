/* Compiled once a machine by build.py; the headers say what is here, for float and for double. */

#include <math.h>
#include <stdint.h>

/* Numbers of a row worked on at a time; a tile of each of LOCAL tensors stays in the second-level cache. */
#define TILE 512
#define LOCAL 16

#define REAL float
#define NAME(f) f##_float
#include "kernels.h"
#include "norm.h"
#include "attend.h"
#undef REAL
#undef NAME

#define REAL double
#define NAME(f) f##_double
#include "kernels.h"
#include "norm.h"
#include "attend.h"
