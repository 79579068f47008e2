#include "query/catalogue.h"

#include <array>

#include "query/aggregates.h"
#include "query/tables.h"
#include "query/tensor_functions.h"

namespace tenon {

std::span<const Table* const> all_tables() {
  static const std::array<const Table*, 17> tables = {&snapshots_table(),
                                                      &refs_table(),
                                                      &tensors_table(),
                                                      &slots_table(),
                                                      &storages_table(),
                                                      &segments_table(),
                                                      &attachments_table(),
                                                      &workers_table(),
                                                      &log_table(),
                                                      &scalars_table(),
                                                      &diff_table(),
                                                      &history_table(),
                                                      &history_scalars_table(),
                                                      &elements_table(),
                                                      &read_pt_table(),
                                                      &read_safetensors_table(),
                                                      &read_npz_table()};
  return tables;
}

std::span<const ScalarFunction> all_scalar_functions() { return tensor_functions(); }

std::span<const AggregateFunction> all_aggregate_functions() { return aggregates(); }

}  // namespace tenon
