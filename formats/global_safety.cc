#include "formats/global_safety.h"

#include <algorithm>
#include <iterator>

namespace tenon {

namespace {

struct Names {
  std::string_view module;
  std::string_view names;  // with spaces between them
};

// What torch 2.13 allows by default. A test compares it with torch's own list.
constexpr Names safe_names[] = {
    {"_codecs", "encode"},
    {"builtins", "bytearray complex set"},
    {"collections", "Counter OrderedDict"},
    {"torch",
     "BFloat16Storage BFloat16Tensor BoolStorage BoolTensor ByteStorage ByteTensor CharStorage CharTensor "
     "ComplexDoubleStorage ComplexFloatStorage DoubleStorage DoubleTensor FloatStorage FloatTensor "
     "HalfStorage HalfTensor IntStorage IntTensor LongStorage LongTensor QInt32Storage QInt8Storage "
     "QUInt2x4Storage QUInt4x2Storage QUInt8Storage ShortStorage ShortTensor Size Tensor bfloat16 bits16 "
     "bits1x8 bits2x4 bits4x2 bits8 bool complex128 complex32 complex64 device float16 float32 "
     "float4_e2m1fn_x2 float64 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu "
     "int1 int16 int2 int3 int32 int4 int5 int6 int64 int7 int8 per_channel_affine "
     "per_channel_affine_float_qparams per_channel_symmetric per_tensor_affine per_tensor_symmetric qint32 "
     "qint8 quint2x4 quint4x2 quint8 uint1 uint16 uint2 uint3 uint32 uint4 uint5 uint6 uint64 uint7 uint8"},
    {"torch._tensor", "_rebuild_from_type_v2"},
    {"torch._utils",
     "_rebuild_device_tensor_from_cpu_tensor _rebuild_device_tensor_from_numpy "
     "_rebuild_meta_tensor_no_storage _rebuild_nested_tensor _rebuild_parameter "
     "_rebuild_parameter_with_state _rebuild_qtensor _rebuild_sparse_tensor _rebuild_tensor "
     "_rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_wrapper_subclass"},
    {"torch.cuda",
     "BFloat16Storage BFloat16Tensor BoolStorage BoolTensor ByteStorage ByteTensor CharStorage CharTensor "
     "ComplexDoubleStorage ComplexFloatStorage DoubleStorage DoubleTensor FloatStorage FloatTensor "
     "HalfStorage HalfTensor IntStorage IntTensor LongStorage LongTensor ShortStorage ShortTensor"},
    {"torch.cuda.sparse",
     "BFloat16Tensor ByteTensor CharTensor DoubleTensor FloatTensor HalfTensor IntTensor LongTensor "
     "ShortTensor"},
    {"torch.nn.parameter", "Parameter"},
    {"torch.serialization", "_get_layout"},
    {"torch.sparse",
     "BFloat16Tensor ByteTensor CharTensor DoubleTensor FloatTensor HalfTensor IntTensor LongTensor "
     "ShortTensor"},
    {"torch.storage", "TypedStorage UntypedStorage"},
};

// All of these, and what is in packages of these names.
constexpr std::string_view dangerous_modules =
    " os posix nt sys subprocess commands popen2 pty runpy importlib imp pkgutil zipimport code codeop ctypes _ctypes "
    "cffi pickle _pickle cPickle shelve dill cloudpickle joblib marshal bdb pdb trace profile cProfile timeit doctest "
    "pydoc webbrowser socket _socket socketserver ssl http httplib urllib urllib2 urllib3 requests aiohttp httpx "
    "ftplib smtplib telnetlib poplib imaplib nntplib xmlrpc shutil tempfile multiprocessing threading _thread thread "
    "asyncio signal gc inspect pip setuptools distutils ensurepip venv idlelib lib2to3 test antigravity site "
    "sysconfig platform rlcompleter readline tkinter turtle fileinput "
    "torch.hub torch.package torch._inductor torch.multiprocessing torch.distributed.rpc torch.utils.cpp_extension "
    "torch.utils.collect_env torch.utils.bottleneck torch.utils.model_zoo torch.utils.model_dump "
    "torch.fx.experimental.symbolic_shapes torch.jit.unsupported_tensor_ops torch.utils._config_module "
    "numpy.testing numpy.f2py numpy.distutils ";

constexpr Names dangerous_names[] = {
    {"builtins",
     "eval exec execfile compile open file input raw_input getattr setattr delattr vars globals locals dir apply "
     "breakpoint help memoryview exit quit"},
    {"operator", "attrgetter methodcaller itemgetter call"},
    {"types", "CodeType FunctionType LambdaType MethodType ModuleType"},
    {"io", "open open_code FileIO"},
    {"_io", "open open_code FileIO"},
    {"codecs", "open"},
    {"functools", "reduce"},
    {"logging.config", "dictConfig fileConfig listen"},
    {"torch", "load compile"},
    {"torch.serialization", "load add_safe_globals"},
    {"torch.jit", "load"},
    {"torch.storage", "_load_from_bytes"},
    {"torch.ops", "load_library"},
    {"numpy", "load fromfile loadtxt"},
    {"numpy.lib.npyio", "load"},
    {"pandas", "read_pickle eval"},
};

// Of any module: what is imported into it can be reached through it.
constexpr std::string_view dangerous_everywhere =
    " os posix nt sys subprocess builtins importlib ctypes socket shutil pickle runpy ";

bool is_listed(std::string_view list, std::string_view word) {
  if (word.empty() || word.find(' ') != std::string_view::npos) return false;
  for (std::size_t at = list.find(word); at != std::string_view::npos; at = list.find(word, at + 1)) {
    const bool begins = at == 0 || list[at - 1] == ' ';
    const std::size_t end = at + word.size();
    if (begins && (end == list.size() || list[end] == ' ')) return true;
  }
  return false;
}

template <std::size_t count>
bool is_named(const Names (&table)[count], std::string_view module, std::string_view name) {
  return std::any_of(std::begin(table), std::end(table),
                     [&](const Names& one) { return one.module == module && is_listed(one.names, name); });
}

// The names of Python 2 are taken for those that they became.
std::string_view modern(std::string_view module) {
  if (module == "__builtin__") return "builtins";
  if (module == "copy_reg") return "copyreg";
  return module;
}

bool is_in_dangerous_package(std::string_view module) {
  for (std::size_t end = module.find('.');; end = module.find('.', end + 1)) {
    if (is_listed(dangerous_modules, module.substr(0, end))) return true;
    if (end == std::string_view::npos) return false;
  }
}

// A part of a dotted name that leads out of its module, or into Python's machinery.
bool leads_astray(std::string_view name) {
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part.starts_with("__") || is_listed(dangerous_everywhere, part)) return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

GlobalSafety global_safety(std::string_view module, std::string_view name) {
  const std::string_view now = modern(module);
  if (is_named(safe_names, now, name)) return GlobalSafety::safe;
  const bool is_dangerous = is_in_dangerous_package(now) || is_named(dangerous_names, now, name) || leads_astray(name);
  return is_dangerous ? GlobalSafety::dangerous : GlobalSafety::unknown;
}

std::string_view global_safety_name(GlobalSafety safety) noexcept {
  switch (safety) {
    case GlobalSafety::safe:
      return "safe";
    case GlobalSafety::unknown:
      return "unknown";
    case GlobalSafety::dangerous:
      return "dangerous";
  }
  return "unknown";
}

}  // namespace tenon
