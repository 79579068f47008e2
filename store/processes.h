// Who uses a directory store; see tenon/processes.h.
#pragma once

#include <vector>

#include "store/store_state.h"
#include "tenon/processes.h"

namespace tenon {

std::vector<StoreProcess> find_processes(StoreState& store);

}  // namespace tenon
