// The public interface of Tenon, in one include.
#pragma once

#include "tenon/diff.h"
#include "tenon/digest.h"
#include "tenon/draft.h"
#include "tenon/dtype.h"
#include "tenon/error.h"
#include "tenon/formats.h"
#include "tenon/name.h"
#include "tenon/retention.h"
#include "tenon/snapshot.h"
#include "tenon/statistics.h"
#include "tenon/store.h"
#include "tenon/structure.h"
#include "tenon/summary.h"
#include "tenon/view.h"
