#include "libs/transformation/geolocation.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <maxminddb.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "libs/event/repair.h"
#include "libs/json/writer.h"

namespace millrace::transformation {
namespace {

constexpr std::chrono::seconds kCheckEvery{1};

// Which content of a path this is.
struct Version {
  dev_t device = 0;
  ino_t inode = 0;
  off_t bytes = 0;
  timespec changed{};
  bool operator==(const Version& other) const {
    return device == other.device && inode == other.inode && bytes == other.bytes &&
           changed.tv_sec == other.changed.tv_sec && changed.tv_nsec == other.changed.tv_nsec;
  }
};

std::optional<Version> VersionOf(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return std::nullopt;
  return Version{status.st_dev, status.st_ino, status.st_size, status.st_mtim};
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// A copy of the file in memory. The library maps files, and one that is overwritten in place would
// end the process with SIGBUS.
Status CopyToMemory(const std::string& path, int memory) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) {
    return Error(StatusCode::kFailedPrecondition, "geolocation file {}: {}", path,
                 std::strerror(errno));
  }
  std::vector<char> block(1 << 20);
  while (true) {
    const ssize_t got = read(file.get(), block.data(), block.size());
    if (got == 0) return OkStatus();
    if (got < 0 || write(memory, block.data(), static_cast<size_t>(got)) != got) {
      return Error(StatusCode::kFailedPrecondition, "geolocation file {}: {}", path,
                   std::strerror(errno));
    }
  }
}

class Database {
 public:
  static StatusOr<std::shared_ptr<const Database>> Open(const std::string& path) {
    const FileDescriptor memory(memfd_create("millrace-geolocation", MFD_CLOEXEC));
    if (memory.get() < 0) {
      return Error(StatusCode::kFailedPrecondition, "geolocation file {}: {}", path,
                   std::strerror(errno));
    }
    MR_RETURN_IF_ERROR(CopyToMemory(path, memory.get()));
    auto database = std::make_shared<Database>();
    const std::string copy = "/proc/self/fd/" + std::to_string(memory.get());
    const int code = MMDB_open(copy.c_str(), MMDB_MODE_MMAP, &database->mmdb_);
    if (code != MMDB_SUCCESS) {
      return Error(StatusCode::kFailedPrecondition,
                   "geolocation file {} is not a MaxMind database: {}", path, MMDB_strerror(code));
    }
    database->open_ = true;
    return std::shared_ptr<const Database>(std::move(database));
  }
  Database() = default;
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database() {
    if (open_) MMDB_close(&mmdb_);
  }

  StatusOr<std::string> Lookup(const std::string& ip, const sockaddr* address) const {
    int code = MMDB_SUCCESS;
    MMDB_lookup_result_s result = MMDB_lookup_sockaddr(&mmdb_, address, &code);
    if (code != MMDB_SUCCESS && code != MMDB_IPV6_LOOKUP_IN_IPV4_DATABASE_ERROR) {
      return Error(StatusCode::kFailedPrecondition, "geolocation: {}", MMDB_strerror(code));
    }
    if (code != MMDB_SUCCESS || !result.found_entry) {
      return Error(StatusCode::kNotFound, "geolocation: {} is not in the database", ip);
    }
    return Document(ip, &result.entry);
  }

 private:
  using Path = std::initializer_list<const char*>;

  static std::optional<MMDB_entry_data_s> Find(MMDB_entry_s* entry, Path path) {
    std::vector<const char*> names(path);
    names.push_back(nullptr);
    MMDB_entry_data_s data{};
    if (MMDB_aget_value(entry, &data, names.data()) != MMDB_SUCCESS || !data.has_data) return {};
    return data;
  }
  // The first of `paths` that holds text: GeoIP2's way of naming things, then that of flat
  // databases.
  static std::string Text(MMDB_entry_s* entry, std::initializer_list<Path> paths) {
    for (const Path& path : paths) {
      const auto data = Find(entry, path);
      if (data && data->type == MMDB_DATA_TYPE_UTF8_STRING) {
        return event::RepairUtf8(std::string(data->utf8_string, data->data_size));
      }
    }
    return {};
  }
  static std::optional<double> Number(MMDB_entry_s* entry, std::initializer_list<Path> paths) {
    for (const Path& path : paths) {
      const auto data = Find(entry, path);
      if (!data) continue;
      if (data->type == MMDB_DATA_TYPE_DOUBLE) return data->double_value;
      if (data->type == MMDB_DATA_TYPE_FLOAT) return static_cast<double>(data->float_value);
    }
    return {};
  }
  static std::string Document(const std::string& ip, MMDB_entry_s* entry) {
    json::ObjectWriter json;
    json.Text("ip", ip);
    const auto put = [&json](const char* key, const std::string& text) {
      if (!text.empty()) json.Text(key, text);
    };
    put("city", Text(entry, {{"city", "names", "en"}, {"city"}}));
    put("country", Text(entry, {{"country", "iso_code"}, {"country_code"}}));
    put("region", Text(entry, {{"subdivisions", "0", "names", "en"}, {"state1"}, {"region"}}));
    put("postal", Text(entry, {{"postal", "code"}, {"postcode"}}));
    const auto latitude = Number(entry, {{"location", "latitude"}, {"latitude"}});
    const auto longitude = Number(entry, {{"location", "longitude"}, {"longitude"}});
    if (latitude && longitude) put("location", fmt::format("{},{}", *latitude, *longitude));
    put("timezone", Text(entry, {{"location", "time_zone"}, {"timezone"}}));
    return json.Take();
  }

  MMDB_s mmdb_{};
  bool open_ = false;
};

class FileGeolocation final : public Geolocation {
 public:
  FileGeolocation(std::string path, Version version, std::shared_ptr<const Database> database)
      : path_(std::move(path)), version_(version), database_(std::move(database)) {}

  StatusOr<std::string> Lookup(const std::string& ip) override {
    sockaddr_storage storage{};
    auto* const v4 = reinterpret_cast<sockaddr_in*>(&storage);
    auto* const v6 = reinterpret_cast<sockaddr_in6*>(&storage);
    if (ip.find('\0') == std::string::npos && inet_pton(AF_INET, ip.c_str(), &v4->sin_addr) == 1) {
      storage.ss_family = AF_INET;
    } else if (ip.find('\0') == std::string::npos &&
               inet_pton(AF_INET6, ip.c_str(), &v6->sin6_addr) == 1) {
      storage.ss_family = AF_INET6;
    } else {
      return Error(StatusCode::kInvalidArgument, "geolocation: \"{}\" is not an IP address",
                   event::RepairUtf8(ip.substr(0, 64)));
    }
    return Current()->Lookup(ip, reinterpret_cast<const sockaddr*>(&storage));
  }

 private:
  std::shared_ptr<const Database> Current() {
    const MutexLock lock(mu_);
    const MonotonicTime now = SystemClock().Monotonic();
    if (now < next_check_) return database_;
    next_check_ = now + kCheckEvery;
    const std::optional<Version> version = VersionOf(path_);
    if (!version || *version == version_) return database_;
    version_ = *version;  // a broken one is not tried again until it changes
    auto database = Database::Open(path_);
    if (database.ok()) {
      database_ = *std::move(database);
    } else {
      log::Warning("{}; the one before stays in use", Message(database.status()));
    }
    return database_;
  }

  const std::string path_;
  Mutex mu_;
  Version version_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const Database> database_ ABSL_GUARDED_BY(mu_);
  MonotonicTime next_check_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

StatusOr<std::unique_ptr<Geolocation>> Geolocation::Open(const std::string& path) {
  const std::optional<Version> version = VersionOf(path);
  if (!version) {
    return Error(StatusCode::kFailedPrecondition, "geolocation file {}: {}", path,
                 std::strerror(errno));
  }
  MR_ASSIGN_OR_RETURN(auto database, Database::Open(path));
  return std::make_unique<FileGeolocation>(path, *version, std::move(database));
}

}  // namespace millrace::transformation
