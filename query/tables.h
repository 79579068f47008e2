// The tables of SQL, each in a file of its own.
#pragma once

#include "query/table.h"

namespace tenon {

const Table& snapshots_table();
const Table& refs_table();
const Table& tensors_table();
const Table& slots_table();
const Table& storages_table();
const Table& segments_table();
const Table& attachments_table();
const Table& workers_table();

const Table& log_table();
const Table& scalars_table();
const Table& diff_table();
const Table& history_table();
const Table& history_scalars_table();
const Table& elements_table();

const Table& read_pt_table();
const Table& read_safetensors_table();
const Table& read_npz_table();

}  // namespace tenon
