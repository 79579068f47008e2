// One object on its way into a store: gathers tensors and storages while Python pickles, then makes the draft.
//
// The pickle names a tensor by number, a bare storage as torch.save does; read_torch_pickle puts both together. Owner:
// keeps every Python object whose memory it names. Threads: needs the GIL, but for sources while a commit runs, which
// take it where they must.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "python/binding.h"
#include "python/staging.h"
#include "tenon/draft.h"
#include "tenon/formats.h"

namespace tenon::python {

// What is said of a save besides the object.
struct SaveExtras {
  bool is_compact = false;
  std::unordered_map<std::string, std::string> params{};  // name prefix -> parameter, of optimizer state
  // Row name -> global shape and offset, of shards.
  std::unordered_map<std::string, std::pair<std::vector<std::int64_t>, std::vector<std::int64_t>>> shards{};
  std::vector<AttachmentDraft> attachments{};
};

class Saver {
 public:
  Saver() = default;
  Saver(const Saver&) = delete;
  Saver& operator=(const Saver&) = delete;

  // The persistent id of `object`, None if it is to be pickled: called for every object, by the pickler.
  py::object persistent_id(PyObject* object);
  // As pickle.Pickler wants it, without pybind11's cost per call. Borrows the saver.
  py::object persistent_id_function();

  // Sources point into this saver.
  void finish(std::span<const std::byte> pickle, const SaveExtras& extras);
  // Copies the bytes, so that the program may change its tensors before they are committed, and lets go of Python's
  // objects. `buffer` is taken until the commit is over. Bytes move without the GIL.
  void stage(StagingBuffer& buffer);
  // As finish() made it.
  Draft& draft() noexcept { return draft_; }

 private:
  struct Storage {
    PickledStorage pickled;
    py::object owner;
    std::shared_ptr<const void> foreign{};  // or this one
  };
  struct BufferHolder;

  py::object tensor_number(PyObject* object);
  bool describe_torch(PyObject* object, TensorDraft& row);
  bool describe_array(PyObject* object, TensorDraft& row);
  bool describe_foreign(PyObject* object, TensorDraft& row);
  py::object add(PyObject* object, TensorDraft row);
  std::uint32_t torch_storage(const py::object& untyped);
  py::object storage_id(PyObject* object);

  std::vector<py::object> kept_;
  std::unordered_map<PyObject*, std::int64_t> number_of_object_;
  std::vector<TensorDraft> tensors_;
  std::vector<Storage> storages_;
  std::unordered_map<std::uint64_t, std::uint32_t> storage_of_address_;  // of torch's storage objects
  Draft draft_;
};

}  // namespace tenon::python
