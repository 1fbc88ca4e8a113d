#pragma once

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/mutex.h"

namespace millrace::http {

/// A name server on loopback for tests: knows what it is told, says of other names that they do not
/// exist, and is silent when it is told so. Thread-safe.
class FakeNameServer {
 public:
  struct Record {
    std::vector<std::string> addresses;  // IPv4; none: silent about this name
    uint32_t ttl = 60;
  };

  FakeNameServer() {
    socket_ = ::socket(AF_INET, SOCK_DGRAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    socklen_t length = sizeof address;
    getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~FakeNameServer() {
    stopping_ = true;
    thread_.join();
    close(socket_);
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  void Set(const std::string& name, Record record) {
    MutexLock lock(mu_);
    records_[name] = std::move(record);
  }
  /// Questions for IPv4 addresses of `name`.
  int asked(const std::string& name) {
    MutexLock lock(mu_);
    return asked_[name];
  }

 private:
  static constexpr size_t kHeader = 12;

  void Serve() {
    uint8_t packet[1024];
    while (!stopping_) {
      pollfd ready{socket_, POLLIN, 0};
      if (poll(&ready, 1, 10) <= 0) continue;
      sockaddr_in peer{};
      socklen_t length = sizeof peer;
      const ssize_t got =
          recvfrom(socket_, packet, sizeof packet, 0, reinterpret_cast<sockaddr*>(&peer), &length);
      if (got < static_cast<ssize_t>(kHeader)) continue;
      const std::string answer = Answer(packet, static_cast<size_t>(got));
      if (answer.empty()) continue;
      sendto(socket_, answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&peer), length);
    }
  }

  std::string Answer(const uint8_t* packet, size_t size) {
    std::string name;
    size_t at = kHeader;
    while (at < size && packet[at] != 0) {
      if (!name.empty()) name += '.';
      name.append(reinterpret_cast<const char*>(packet + at + 1), packet[at]);
      at += 1u + packet[at];
    }
    if (at + 5 > size) return {};
    const bool v4 = packet[at + 2] == 1;
    const size_t question_end = at + 5;

    MutexLock lock(mu_);
    if (v4) ++asked_[name];
    const auto record = records_.find(name);
    const bool known = record != records_.end();
    if (known && record->second.addresses.empty()) return {};
    const size_t count = known && v4 ? record->second.addresses.size() : 0;
    std::string answer(reinterpret_cast<const char*>(packet), question_end);
    answer[2] = static_cast<char>(0x81);
    answer[3] = static_cast<char>(known ? 0x80 : 0x83);
    answer[7] = static_cast<char>(count);
    answer[8] = answer[9] = answer[10] = answer[11] = 0;
    for (size_t i = 0; i < count; ++i) {
      const uint32_t ttl = htonl(record->second.ttl);
      in_addr address{};
      inet_pton(AF_INET, record->second.addresses[i].c_str(), &address);
      answer.append("\xc0\x0c\x00\x01\x00\x01", 6);
      answer.append(reinterpret_cast<const char*>(&ttl), 4);
      answer.append("\x00\x04", 2);
      answer.append(reinterpret_cast<const char*>(&address), 4);
    }
    return answer;
  }

  int socket_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  Mutex mu_;
  std::map<std::string, Record> records_;
  std::map<std::string, int> asked_;
  std::thread thread_;
};

}  // namespace millrace::http
