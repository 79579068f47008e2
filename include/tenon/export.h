// Symbol visibility of the public interface. The library hides everything that is not marked.
#pragma once

#define TENON_API __attribute__((visibility("default")))
